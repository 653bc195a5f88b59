{{- define "lorapool.name" -}}
{{- if contains "lorapool" .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-lorapool" .Release.Name | trunc 40 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "lorapool.selector" -}}
app.kubernetes.io/name: lorapool
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "lorapool.labels" -}}
{{ include "lorapool.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{- define "lorapool.secret" -}}
{{ .Values.existingSecret | default (include "lorapool.name" .) }}
{{- end }}

{{- define "lorapool.claim" -}}
{{ .Values.data.existingClaim | default (printf "%s-data" (include "lorapool.name" .)) }}
{{- end }}

{{- define "lorapool.containerSecurity" -}}
allowPrivilegeEscalation: false
capabilities: { drop: [ALL] }
{{- end }}

{{- define "lorapool.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext: {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- with .Values.images.pullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "lorapool.fromSecret" -}}
valueFrom: { secretKeyRef: { name: {{ include "lorapool.secret" .root }}, key: {{ .key }} } }
{{- end }}

{{- define "lorapool.env" -}}
- name: REDIS_URL
  {{ include "lorapool.fromSecret" (dict "root" . "key" "redis-url") }}
- name: LORAPOOL_TOKEN
  {{ include "lorapool.fromSecret" (dict "root" . "key" "token") }}
- { name: LORAPOOL_ENDPOINT, value: "http://{{ include "lorapool.name" . }}-gateway:8000" }
- { name: LORAPOOL_HOST, value: 0.0.0.0 }
- { name: LORAPOOL_DATA_DIR, value: /data }
- { name: LORAPOOL_LOG_FORMAT, value: json }
- { name: LORAPOOL_SAVE_GRACE, value: {{ .Values.saveGrace | quote }} }
- { name: LORAPOOL_START_DEADLINE, value: {{ .Values.startDeadline | quote }} }
- { name: HOME, value: /tmp }
{{- end }}

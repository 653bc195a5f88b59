"""What each key of a description does here, in a sentence: for the schema that editors show, and the reference page.

Paths are dotted; `[]` stands for each entry of a list. Keys that do nothing here are in `meaning.py`.
"""

from __future__ import annotations

_RPC = {
    "worker_threads": "Queries that an instance takes at once; a command always has its instance for itself.",
    "keepalive": "Milliseconds that a query may take; then it is ended, with status 408.",
    "rate_limit": "Puts a second; more are refused with 429. 0: no limit.",
    "max_queue_size": "Waiting tasks; more are refused with 450. Holds where it is written down.",
    "proxy_path": "Path of the app that a query goes to which names none itself.",
    "health_check_path": "The app is ready when this path answers well; without one, when its port takes connections.",
    "unload_path": "A POST here has the app give its device's memory back before a command takes the instance; "
    "without one, the app is stopped for it.",
}

_LIMITS = {
    "max_payload_size_kb": "kB that one item may have; larger ones are refused with 413.",
    "auto_evict": "A full queue loses its oldest item instead of refusing, or waiting for a reader.",
}

_OBJECTS = {
    "path": "Bucket and folder: `oss://bucket/folder/` or `s3://bucket/folder/`. Credentials are the machine's.",
    "endpoint": "Where the object store answers.",
    "region": "Its region, where it wants one.",
    "readOnly": "Inputs only: nothing is written there.",
}

EFFECTS: dict[str, str] = {
    "metadata.name": "The service's name, in addresses and commands: letters, digits, `_`, `-`, `.`, up to 63.",
    "metadata.type": "`ScalableJob`: a queue with a pool. `ScalableJobService`: the same with its own front end. "
    "`Async`, `Queue`: two plain queues, for workers of your own.",
    "metadata.instance": "Instances, where there is no `autoscaler`: always 1 to this many, or none for 0.",
    "metadata.cpu": "CPUs of an instance on Kubernetes; elsewhere instances share those of their machine.",
    "metadata.gpu": "GPUs of an instance on Kubernetes; elsewhere it has one GPU where there is one.",
    "metadata.memory": "MB of an instance on Kubernetes; elsewhere instances share those of their machine.",
    **{f"metadata.rpc.{name}": said for name, said in _RPC.items()},
    **{f"rpc.{name}": said for name, said in _RPC.items()},
    "containers[].image": "The image of an instance on Kubernetes. Elsewhere it is not pulled; a changed one still has "
    "instances replaced.",
    "containers[].command": "With a `port`: the program that answers queries. Without: an init command, which has to "
    "end well before the first task.",
    "containers[].script": "The same as `command`, as lines of a shell.",
    "containers[].app": "`built-in`: queries are answered by lorapool's own app, which draws pictures.",
    "containers[].port": "Where the app listens, on 127.0.0.1. Not 8080 or 9090, which EAS keeps for itself.",
    "containers[].env[].name": "A variable of the container's program.",
    "containers[].env[].value": "Its value.",
    "containers[].env[].valueFrom": "Its value from a Secret or the like; on Kubernetes only.",
    "containers[].prepare.pythonRequirements": "Packages that are installed before the first task, as pip takes them.",
    "containers[].prepare.pythonRequirementsPath": "A file of such lines, often below a mount.",
    "containers[].init_deadline": "Seconds that an init command may take; a longer one keeps the instance out.",
    "queue.max_delivery": "How often a task is given to an instance that dies of it before it is a dead letter.",
    "queue.max_idle": "Seconds that a reader of a plain queue may keep an item; then it is another's. 0: no limit.",
    **{f"queue.source.{name}": said for name, said in _LIMITS.items()},
    **{f"queue.sink.{name}": said for name, said in _LIMITS.items()},
    "queue.source.capacity": "Tasks that may wait; more are refused with 450. 0: no limit.",
    "queue.sink.capacity": "Items that the output queue holds; while it is full, what writes to it waits. 0: no limit. "
    "230399 where the description says nothing of the sink.",
    "front_end.image": "Recorded: the script runs in the environment that lorapool runs in.",
    "front_end.script": "The front end of a `ScalableJobService`, kept running beside it with its service's token.",
    "front_end.port": "Where that script listens.",
    "kubernetes.node_selector": "Labels of the nodes that pods of instances may run on.",
    "kubernetes.tolerations": "Taints that they put up with, as in a pod.",
    "kubernetes.labels": "Further labels of the pods.",
    "kubernetes.annotations": "Further annotations of the pods.",
    "kubernetes.priority_class": "Their priority class.",
    "kubernetes.runtime_class": "Their runtime class.",
    "ray.resources": "Custom resources that an instance takes of its Ray node, with their amounts.",
    "ray.labels": "Labels that its Ray node must have, with their values (or Ray's `in(a,b)`, `!a`).",
    "storage[].mount_path": "The folder as tasks name it.",
    **{f"storage[].oss.{name}": said for name, said in _OBJECTS.items()},
    **{f"storage[].s3.{name}": said for name, said in _OBJECTS.items()},
    "storage[].nfs.server": "An NFS server. Only root can mount; a folder that is mounted already is used.",
    "storage[].nfs.path": "The folder that it exports.",
    "storage[].nfs.readOnly": "Nothing is written there.",
    "storage[].local.path": "A folder of the machine that the instances run on.",
    "storage[].local.readOnly": "Nothing is written there.",
    "storage[].git.repo": "A repository, cloned once for each version.",
    "storage[].git.branch": "Its branch; without one, the repository's own.",
    "storage[].git.commit": "The commit, instead of a branch's newest.",
    "storage[].properties.resource_type": "What it holds: `code` is fetched whole before the first task.",
    "autoscaler.min": "Fewest instances.",
    "autoscaler.max": "Most instances.",
    "autoscaler.strategies[].metricName": "A metric, as a value per instance: `avg_waiting_length`, `qps`, `cpu`, … "
    'Also written `"strategies": {"avg_waiting_length": 2}`. Without any, the rule by work applies.',
    "autoscaler.strategies[].threshold": "Over this value (and a tenth of it) instances are added.",
    "autoscaler.strategies[].service": "Another service whose metric counts.",
    "autoscaler.behavior.scaleUp.stabilizationWindowSeconds": "Seconds that more must be wanted without a break.",
    "autoscaler.behavior.scaleDown.stabilizationWindowSeconds": "Seconds that fewer must be wanted without a break; "
    "1 where the description says nothing of it.",
    "autoscaler.behavior.onZero.scaleDownGracePeriodSeconds": "Seconds without work before the last instance leaves.",
    "autoscaler.behavior.onZero.scaleUpActivationReplicas": "Instances that the first task at zero starts.",
    "autoscaler.behavior.onZero.interceptTraffic": "Always on: a queue holds what waits.",
    "autoscaler.count_running": "Whether running tasks count in the queue's length.",
    "autoscaler.comfort": "The dial of the rule by work, from economy (0) to comfort (1).",
    "autoscaler.max_running_per_user": "Running tasks that one user may have in this service.",
    "autoscaler.user_limits": "The same for users by name.",
    "cronscaler.ScaleJobs[].Name": "A name for what happens then.",
    "cronscaler.ScaleJobs[].Schedule": "Six fields: second, minute, hour, day, month, weekday.",
    "cronscaler.ScaleJobs[].TargetSize": "Fewest instances from then on, until the next job.",
    "cronscaler.ScaleJobs[].TimeZone": "Where that clock hangs.",
    "cronscaler.ExcludeDates": "Times, in the same six fields, at which no job begins.",
    "scalable_job.enable_write_log_to_queue": "Whether logs go to the output queue, too. Default: of commands yes, "
    "of queries no.",
    "token": "The service's token. Without one it is made, and stays over updates.",
}
"""Every key that the schema names, and what it does."""

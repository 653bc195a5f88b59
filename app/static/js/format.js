// Numbers and times as a person says them.

import { language, said, t } from "./words.js";

let skew = 0;

/** The server's clock, in seconds: the machine that shows a page may be minutes off. */
export const now = () => Date.now() / 1000 + skew;

export function setClock(serverNow) {
  skew = serverNow - Date.now() / 1000;
}

/** The smaller part of a time: two digits in English, so that a clock does not jump; the bare number elsewhere. */
const rest = (n) => (language === "en" ? String(n).padStart(2, "0") : n);

export function duration(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "–";
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return t("{s} s", { s });
  if (s < 3600) return t("{min} min {s} s", { min: Math.floor(s / 60), s: rest(s % 60) });
  if (s < 86400) return t("{h} h {min} min", { h: Math.floor(s / 3600), min: rest(Math.floor((s % 3600) / 60)) });
  return t("{d} d {h} h", { d: Math.floor(s / 86400), h: Math.floor((s % 86400) / 3600) });
}

/** Like `duration`, for what nobody needs to the second. */
export function about(seconds) {
  const s = Math.max(0, seconds);
  if (s < 50) return t("{s} s", { s: Math.max(5, Math.round(s / 5) * 5) });
  if (s < 5400) return t("{min} min", { min: Math.max(1, Math.round(s / 60)) });
  if (s < 129600) return t("{h} h", { h: Math.round(s / 3600) });
  return t("{d} d", { d: Math.round(s / 86400) });
}

export function ago(at) {
  if (!at) return "";
  const s = now() - at;
  return s < 10 ? t("just now") : t("{time} ago", { time: about(s) });
}

/** A person who reads English has the habits of their own country. */
const place = language === "en" ? [] : language;

export function clock(at) {
  if (!at) return "–";
  const date = new Date(at * 1000);
  const time = { hour: "2-digit", minute: "2-digit" };
  if (date.toDateString() === new Date().toDateString()) return date.toLocaleTimeString(place, time);
  return date.toLocaleString(place, { day: "numeric", month: "short", ...time });
}

export function size(bytes) {
  if (!Number.isFinite(bytes)) return "";
  const units = ["B", "KB", "MB", "GB", "TB"];
  let i = 0;
  while (bytes >= 1000 && i < units.length - 1) (bytes /= 1000), i++;
  return `${i && bytes < 10 ? bytes.toFixed(1) : Math.round(bytes)} ${units[i]}`;
}

export function count(n) {
  return Number(n).toLocaleString("en-US").replaceAll(",", " ");
}

/** Four significant digits, small ones with an exponent: 0.08312, 1e-4. */
export function figure(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size < 0.001) return value.toExponential(2).replace(/\.?0+e/, "e");
  return String(Number(value.toPrecision(4)));
}

/** What a task is called: its name, or the beginning of its id. */
export const title = (task) => task.name || task.id.replace(/^([0-9a-f]{8})(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/, "$1");

/** What a task is waiting for or doing, in one line; empty when its state says it all. `beside` the state it is shorter. */
export function note(task, beside = false) {
  switch (task.state) {
    case "waiting": {
      if (task.waits_for) return t("waits: {why}", { why: said(task.waits_for) });
      const named = beside ? t("position {n}", { n: task.position }) : t("queued, position {n}", { n: task.position });
      const place = task.position ? named : t("queued");
      if (!task.expected_start) return place;
      const left = task.expected_start - now();
      return left > 3 ? `${place} · ${t("starts in about {time}", { time: about(left) })}` : `${place} · ${t("starts any moment")}`;
    }
    case "assigned":
      return t("given to an instance, starting");
    case "running": {
      if (task.cancel) return task.cancel === "save" ? t("saving, then stopping") : t("stopping");
      const p = task.progress;
      if (!p || !p.total) return said(task.phase) || t("starting");
      const eta = p.eta !== null && p.eta !== undefined ? ` · ${t("{time} left", { time: about(p.eta) })}` : "";
      return `${t("step {n} of {total}", { n: count(p.step), total: count(p.total) })}${eta}`;
    }
    case "succeeded":
      return task.started_at ? t("took {time}", { time: duration(task.finished_at - task.started_at) }) : t("done");
    default:
      return said(task.reason) || "";
  }
}

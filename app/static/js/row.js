// One task in a list.

import { chip, h, isFinal, root, say } from "./dom.js";
import { ago, note, title } from "./format.js";
import { said, t } from "./words.js";

/** Who has logged in; nobody where there are no accounts. */
export const me = document.querySelector('meta[name="lp-person"]')?.content ?? "";

/** Whether whoever looks may change anything: all but viewers. */
export const writes = document.querySelector('meta[name="lp-role"]')?.content !== "viewer";

export const taskUrl = (id) => `${root}/jobs?task=${encodeURIComponent(id)}`;

/** An element that `update(task)` keeps true. */
export function row(id) {
  const name = h("b", {});
  const state = h("span", {});
  const line = h("span", { class: "note" });
  const time = h("time", {});
  const bar = h("div", { class: "lp-track" }, h("i", {}));
  const element = h("a", { class: "job", href: taskUrl(id), "data-task": id }, name, state, line, time, bar);
  const update = (task) => {
    say(name, title(task));
    name.title = title(task);
    if (element.dataset.state !== task.state) state.replaceChildren(chip(task.state));
    element.dataset.state = task.state;
    say(line, note(task, true) || " ");
    line.title = said(task.waits_for || task.reason) || "";
    element.classList.toggle("held", Boolean(task.waits_for));
    const whose = task.user && task.user !== me ? `${task.user} · ` : "";
    say(time, whose + ago(isFinal(task.state) ? task.finished_at : task.created_at));
    drawBar(bar, task);
    bar.hidden = task.state !== "running";
    bar.style.display = bar.hidden ? "none" : "";
  };
  return { element, update };
}

/** The bar of a task: where it is, or that it is somewhere. */
export function drawBar(bar, task) {
  const { progress } = task;
  const known = progress && progress.total > 0;
  const share = known ? Math.min(1, progress.step / progress.total) : task.state === "succeeded" ? 1 : 0;
  bar.className = `lp-track ${task.state}${task.state === "running" && !known ? " unknown" : ""}`;
  bar.firstChild.style.width = bar.classList.contains("unknown") ? "" : `${(share * 100).toFixed(2)}%`;
  bar.setAttribute("role", "progressbar");
  bar.setAttribute("aria-label", t("Progress"));
  bar.setAttribute("aria-valuemin", 0);
  bar.setAttribute("aria-valuemax", 100);
  if (known) bar.setAttribute("aria-valuenow", Math.round(share * 100));
  else bar.removeAttribute("aria-valuenow");
}

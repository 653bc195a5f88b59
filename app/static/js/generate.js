// The Generate page: what is to be drawn on the left, what was drawn on the right, newest first.

import { Board } from "./board.js";
import { Drawing } from "./drawing.js";
import { h, isFinal, toast } from "./dom.js";
import { ask, post } from "./live.js";
import { Wish } from "./wish.js";
import { t } from "./words.js";

const page = document.getElementById("lp-page");
const shown = h("div", { class: "drawings" });
const empty = h("p", { class: "lp-card lp-empty" }, h("b", {}, t("Nothing drawn yet")), t("Describe a picture, pick a LoRA that you have trained, and press Generate."));
const more = h("button", { class: "lp-button more", type: "button", hidden: true, onclick: () => read(next) }, t("Show older pictures"));
const wish = new Wish(draw);
page.append(
  h("section", { class: "wish", "aria-label": t("What to draw") }, wish.element),
  h("section", { class: "shown", "aria-label": t("Pictures") }, empty, shown, more),
);

const drawings = new Map();
const owners = new Map();
let next = null;
let asked = null;

/** Put what the server tells of tasks into their drawings; the newest drawing stands first. */
function take(tasks) {
  for (const task of tasks) {
    const { group } = task.drawing;
    if (!drawings.has(group)) drawings.set(group, new Drawing(group, use));
    drawings.get(group).take(task);
    owners.set(task.id, drawings.get(group));
  }
  const ordered = [...drawings.values()].sort((a, b) => b.at - a.at);
  ordered.forEach(({ element }, place) => {
    if (shown.children[place] !== element) shown.insertBefore(element, shown.children[place] ?? null);
  });
  empty.hidden = ordered.length > 0;
}

function use(settings, how) {
  wish.put(settings, how);
  scrollTo(0, 0);
  toast(t("These are its settings. Change what you like."));
}

async function draw(wanted) {
  const { tasks } = await post("drawing/draw", wanted);
  take(tasks);
  // On a phone it stands below the whole form.
  drawings.get(wanted.group)?.element.scrollIntoView({ block: "nearest" });
}

async function read(before = null) {
  try {
    const answer = await ask(`drawing/history${before === null ? "" : `?before=${before}`}`);
    take(answer.tasks);
    next = answer.next;
    more.hidden = next === null;
  } catch (error) {
    toast(error.message, true);
  }
}

const board = new Board((what) => {
  if (what === "pool" || what?.deleted) return;
  for (const id of what ?? board.tasks.keys()) {
    const task = board.tasks.get(id);
    if (task?.kind !== "query") continue;
    if (owners.has(id)) owners.get(id).state(task);
    // What another tab has asked for.
    else if (!isFinal(task.state)) asked ??= setTimeout(() => ((asked = null), read()), 200);
  }
});

read();
setInterval(() => {
  if (!document.hidden) for (const drawing of drawings.values()) drawing.tick();
}, 1000);

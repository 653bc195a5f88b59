// The jobs page: every task, and the one that the address names.

import { Board } from "./board.js";
import { h, isFinal, root, say, toast } from "./dom.js";
import { now } from "./format.js";
import { ask } from "./live.js";
import { Pause } from "./pause.js";
import { deleteFailed } from "./remove.js";
import { me, row, taskUrl, writes } from "./row.js";
import { Task } from "./task.js";
import { t } from "./words.js";

const page = document.getElementById("lp-page");
const sweep = h("button", { class: "lp-button sweep", type: "button", hidden: true, onclick: clear }, t("Delete failed jobs…"));
const fresh = h("a", { class: "lp-button sweep", href: `${root}/live/loras.zip`, download: "", hidden: true, title: t("Those of the last 24 hours, as one zip archive") }, t("Download new LoRAs"));
const rows = h("div", { class: "rows" }, h("p", { class: "lp-empty" }, t("Loading…")));
const summary = h("small", {});
const search = h("input", { type: "search", placeholder: t("Search"), "aria-label": t("Search jobs"), oninput: () => drawList(null) });
const kinds = h(
  "select",
  { "aria-label": t("Which jobs"), onchange: () => (drawList(null), choose()) },
  Object.entries({ command: t("Trainings"), ...(me && { mine: t("Mine") }), open: t("Not ended"), failed: t("Failed"), query: t("Pictures"), "": t("All") }).map(([value, title]) => h("option", { value }, title)),
);
const pause = new Pause();
const list = h(
  "section",
  { class: "list lp-card", "aria-label": t("Jobs") },
  h("header", {}, h("h1", {}, t("Jobs"), " ", summary), h("a", { class: "lp-button", href: `${root}/` }, t("New training"))),
  h("div", { class: "filter" }, search, kinds),
  h("div", { class: "choices" }, pause.element, fresh, sweep),
  rows,
);
const pane = h("section", { class: "task", tabindex: "-1", "aria-label": t("Job") });
page.append(list, pane);

const DAY = 24 * 3600;
const shown = new Map();
let current = null;
let olderLeft = true;

const wanted = () => new URLSearchParams(location.search).get("task");
const wide = matchMedia("(min-width: 861px)");

const board = new Board((what) => {
  if (what === null || what === "pool") pause.read();
  if (what === "pool") return;
  if (what?.deleted) return forget(what.deleted);
  drawList(what);
  if (what === null && !current) choose();
});

const RANKS = { running: 0, assigned: 0, waiting: 1 };
const rank = (task) => RANKS[task.state] ?? 2;

/** What runs stands first, then what waits, in its turn, then what has ended, the latest first. */
function byTurn(a, b) {
  if (rank(a) !== rank(b)) return rank(a) - rank(b);
  if (rank(a) === 1) return (a.position ?? Infinity) - (b.position ?? Infinity) || a.index - b.index;
  return rank(a) === 2 ? b.finished_at - a.finished_at : b.created_at - a.created_at;
}

/** What the filter lets through. */
function wantedTasks() {
  const text = search.value.trim().toLowerCase();
  const fits = {
    command: (task) => task.kind !== "query",
    mine: (task) => task.user === me,
    query: (task) => task.kind === "query",
    open: (task) => !isFinal(task.state),
    failed: (task) => ["failed", "dead"].includes(task.state),
    "": () => true,
  }[kinds.value];
  return board.newest().sort(byTurn).filter((task) => fits(task) && (!text || `${task.name}\n${task.user}\n${task.id}\n${task.reason}`.toLowerCase().includes(text)));
}

function drawList(changed) {
  pause.works(board.newest().some((task) => !isFinal(task.state)));
  const tasks = wantedTasks();
  sweep.hidden = !deletable().length;
  fresh.hidden = !sweep.hidden || !board.newest().some(isNew);
  const filtered = search.value.trim() || kinds.value !== "command";
  if (!tasks.length && filtered) {
    rows.replaceChildren(h("p", { class: "lp-empty" }, h("b", {}, t("No such jobs")), t("Search for something else, or show other kinds.")));
    say(summary, "");
    return;
  }
  if (!tasks.length) {
    rows.replaceChildren(
      h(
        "div",
        { class: "lp-empty" },
        h("b", {}, t("No jobs yet")),
        t("Start a training and it appears here, with its log, curve and pictures."),
        h("p", { class: "acts" }, h("a", { class: "lp-button primary", href: `${root}/` }, t("Start a training"))),
      ),
    );
    say(summary, "");
    return;
  }
  const focused = document.activeElement;
  tasks.forEach((task, place) => {
    let entry = shown.get(task.id);
    if (!entry) shown.set(task.id, (entry = row(task.id)));
    if (!changed || changed.has(task.id)) entry.update(task);
    if (rows.children[place] !== entry.element) rows.insertBefore(entry.element, rows.children[place] ?? null);
  });
  for (const child of [...rows.children].slice(tasks.length)) child.remove();
  // A row that moves lets go of the focus.
  if (focused !== document.activeElement && rows.contains(focused)) focused.focus({ preventScroll: true });
  if (olderLeft && board.tasks.size >= 100) rows.append(more);
  const since = now() - DAY;
  const number = (...states) => tasks.filter((task) => states.includes(task.state) && (task.finished_at ?? Infinity) > since).length;
  const parts = [
    [number("running", "assigned"), t("{n} running")],
    [number("waiting"), t("{n} queued")],
    [number("succeeded"), t("{n} done")],
    [number("failed", "dead"), t("{n} failed")],
  ];
  say(summary, parts.filter(([n]) => n).map(([n, word]) => word.replace("{n}", n)).join(t(", ")));
  summary.title = t("Ended: in the last 24 hours");
  mark();
}

const more = h("button", { class: "lp-button more", type: "button", onclick: older }, t("Show older jobs"));

async function older() {
  more.disabled = true;
  try {
    const oldest = board.newest().at(-1);
    const { tasks } = await ask(`live/tasks?limit=100&before=${oldest.index}`);
    olderLeft = tasks.length === 100;
    for (const task of tasks) if (!board.tasks.has(task.id)) board.tasks.set(task.id, task);
    more.remove();
    drawList(null);
  } catch (error) {
    toast(error.message, true);
  }
  more.disabled = false;
}

/** Shows the task that the address names; where there is room and none is named, the newest of whoever looks. */
function choose() {
  const own = () => wantedTasks().find((task) => !me || task.user === me)?.id;
  const id = wanted() ?? (wide.matches ? own() : undefined);
  page.dataset.view = wanted() ? "task" : "list";
  if (current && current.id === id) return;
  current?.close();
  current = id ? new Task(id, { back: () => open(null), open, tasks: () => board.newest(), deleted: () => (board.drop([id]), open(null)) }) : null;
  const hint = board.tasks.size ? [h("p", { class: "lp-card lp-empty" }, t("Choose a job to look at it."))] : [];
  pane.replaceChildren(...(current ? [current.element] : hint));
  mark();
}

/** Of jobs that were deleted, here or elsewhere. */
function forget(ids) {
  for (const id of ids) shown.delete(id);
  drawList(new Set());
  if (!ids.includes(current?.id)) return;
  current.close();
  current = null;
  pane.replaceChildren(h("p", { class: "lp-card lp-empty" }, h("b", {}, t("This job has been deleted")), t("Choose a job to look at it.")));
}

async function clear() {
  sweep.disabled = true;
  try {
    const gone = await deleteFailed(deletable().map((task) => task.id));
    board.drop(gone);
    if (gone.includes(wanted())) open(null);
    else choose();
  } catch (error) {
    toast(error.message, true);
  }
  sweep.disabled = false;
}

/** Whether a training of whoever looks has ended well in the last day. */
const isNew = (task) => task.kind === "command" && task.state === "succeeded" && task.finished_at > now() - DAY && (!me || task.user === me);

/** Of the jobs that failed and are shown, those that are whose page this is. */
const deletable = () => wantedTasks().filter((task) => writes && kinds.value === "failed" && (!me || task.user === me));

function open(id) {
  const left = current?.id;
  history.pushState(null, "", id ? taskUrl(id) : `${root}/jobs`);
  choose();
  if (id) scrollTo(0, 0);
  if (wide.matches) return;
  // What had the focus is out of sight now.
  if (id) pane.focus({ preventScroll: true });
  else shown.get(left)?.element.focus();
}

function mark() {
  for (const [id, entry] of shown) {
    if (id === current?.id) entry.element.setAttribute("aria-current", "true");
    else entry.element.removeAttribute("aria-current");
  }
}

rows.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-task]");
  if (!link || event.metaKey || event.ctrlKey || event.shiftKey) return;
  event.preventDefault();
  open(link.dataset.task);
});
addEventListener("popstate", choose);
wide.addEventListener("change", choose);
setInterval(() => board.loaded && !document.hidden && drawList(null), 5000);
if (wanted()) choose();

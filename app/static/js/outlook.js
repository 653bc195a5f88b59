// Beside the form: what the training will be, what keeps it from starting, and how it fares once it has started.

import { Board } from "./board.js";
import { copy, h, isFinal, prints, root, say, toast } from "./dom.js";
import { lasting, turn as turnOf } from "./forecast.js";
import { about, count, note, size, title } from "./format.js";
import { row, taskUrl } from "./row.js";
import { sweep } from "./sweep.js";
import { said, t, tn } from "./words.js";

const MOST_ROWS = 4;

export class Outlook {
  #train;
  #fields;
  #values;
  #rows = new Map();
  #started = new Set();
  #answer = { problems: [], estimate: null };

  constructor({ train, fields, values }) {
    this.#train = train;
    this.#fields = fields;
    this.#values = values;
    this.facts = h("dl", { class: "facts" });
    this.buckets = h("p", { class: "lp-muted buckets" });
    this.problems = h("div", { class: "problems", role: "status" });
    this.service = h("select", { "aria-label": t("Service"), onchange: () => this.#drawFacts() });
    this.result = h("div", { class: "result", role: "status" });
    this.now = h("div", { class: "rows" });
  }

  async mount() {
    const [top, bottom] = await Promise.all([appears("lp-outlook"), appears("lp-after")]);
    this.picker = h("label", { class: "picker", hidden: true }, h("span", {}, t("Train on")), this.service);
    top.append(h("h2", {}, t("This training")), this.facts, this.buckets, this.problems, this.picker);
    bottom.append(
      this.result,
      h("button", { class: "lp-button quiet wide", type: "button", onclick: () => this.#command() }, t("Show the command")),
      h("button", { class: "lp-button quiet wide", type: "button", onclick: () => this.#sweep() }, t("Try several values…")),
      h("section", { class: "now", hidden: true }, h("h2", {}, t("Running and queued")), this.now),
    );
    this.#drawFacts();
    if (prints) return bottom.querySelector("button").remove();
    this.board = new Board((what) => what !== "pool" && this.#drawNow());
    setInterval(() => this.#drawNow(), 5000);
    this.#offerServices();
  }

  async #offerServices() {
    try {
      const { services, viewer } = await this.#train("services");
      if (viewer) this.#onlyLooks();
      this.service.replaceChildren(...services.map((name) => h("option", { value: name }, name)));
      this.picker.hidden = services.length < 2;
    } catch {
      this.picker.hidden = true;
    }
  }

  /** Who may start nothing learns it before the form is filled in. */
  #onlyLooks() {
    document.getElementById("lp-start").disabled = true;
    this.problems.before(h("p", { class: "viewer" }, t("Your account is a viewer's: you can look at everything here, but not start a training. An administrator can change that.")));
  }

  /** `answer` is that of train/check. */
  show(answer) {
    this.#answer = answer;
    this.#fields.say(answer.problems);
    this.#drawFacts();
    this.#drawProblems();
  }

  unknown(message) {
    this.problems.replaceChildren(h("p", { class: "lp-muted" }, said(message)));
  }

  #drawFacts() {
    const report = this.#answer.estimate;
    const facts = report
      ? {
          [t("Pictures")]: count(report.pictures),
          [t("Shown per epoch")]: report.showings !== report.pictures && count(report.showings),
          [t("Captions")]: report.captioned === report.pictures ? t("all") : t("{n} of {total}", { n: count(report.captioned), total: count(report.pictures) }),
          [t("Epochs")]: count(report.epochs),
          [t("Steps")]: t("{n} ({each} an epoch)", { n: count(report.total_steps), each: count(report.steps_per_epoch) }),
        }
      : { [t("Pictures")]: "–", [t("Steps")]: "–" };
    if (report) Object.assign(facts, this.#forecast(report));
    const sign = JSON.stringify(facts);
    if (this.facts.dataset.shows === sign) return;
    this.facts.dataset.shows = sign;
    this.facts.replaceChildren(
      ...Object.entries(facts)
        .filter(([, value]) => value)
        .map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))),
    );
    const buckets = report?.buckets ?? [];
    say(this.buckets, buckets.length > 1 ? tn(buckets.length, "{n} picture size", "{n} picture sizes") : "");
    this.buckets.hidden = buckets.length < 2;
  }

  /** Of the queue and the last trainings; of nothing that is not known. */
  #forecast(report) {
    const tasks = this.board?.newest() ?? [];
    const service = this.service.value;
    const seconds = lasting(tasks, service, report.total_steps);
    const { waiting, running, seconds: until } = turnOf(tasks, service);
    const later = until === null ? t("later") : t("in about {time}", { time: about(until) });
    const latest = until === null ? t("when an instance is free") : t("in {time} at the latest", { time: about(until) });
    const start = waiting ? tn(waiting, "{when}, behind {n} other", "{when}, behind {n} others", { when: later }) : running ? latest : t("as soon as it is queued");
    return {
      [t("Time")]: seconds !== null && t("about {time}", { time: about(seconds) }),
      [t("Memory")]: this.#answer.memory && t("over {size}", { size: size(this.#answer.memory) }),
      [t("Start")]: this.board?.loaded && start,
    };
  }

  #drawProblems() {
    const { problems } = this.#answer;
    const errors = problems.filter((problem) => problem.severity === "error");
    const warnings = problems.filter((problem) => problem.severity !== "error");
    this.problems.replaceChildren(
      ...this.#list(errors, tn(errors.length, "One thing to change first", "{n} things to change first"), "bad"),
      ...this.#list(warnings, t("Worth a look"), "warn"),
    );
    document.getElementById("lp-start")?.classList.toggle("lp-blocked", errors.length > 0);
  }

  #list(problems, title, kind) {
    if (!problems.length) return [];
    const names = this.#fields.inOrder(problems.map((problem) => problem.field));
    return [
      h(
        "p",
        { class: `summary ${kind}` },
        h("b", {}, `${title}${t(": ")}`),
        names.flatMap((key, i) => [
          i ? t(", ") : "",
          h("button", { type: "button", onclick: () => this.#fields.go(key) }, this.#fields.title(key)),
        ]),
      ),
    ];
  }

  /** Queue the form; what keeps it from being queued is said at the fields. */
  async start() {
    if (prints) return this.#command();
    this.result.replaceChildren(h("p", { class: "lp-muted" }, t("Checking…")));
    const id = crypto.randomUUID?.() ?? `${Date.now()}-${Math.random().toString(36).slice(2)}`;
    try {
      const answer = await this.#train("submit", { values: this.#values(), service: this.service.value, id });
      if (answer.task) this.#queued(answer.task);
      else this.#refused(answer);
    } catch (error) {
      this.result.replaceChildren(h("p", { class: "summary bad" }, error.message));
    }
  }

  #refused(answer) {
    this.show(answer);
    this.result.replaceChildren();
    const [first] = this.#fields.inOrder(answer.problems.filter((problem) => problem.severity === "error").map((problem) => problem.field));
    toast(t("Not started: something has to be changed first."), true);
    if (first) this.#fields.go(first);
  }

  #queued(task) {
    this.#started.add(task.id);
    this.board.tasks.set(task.id, task);
    this.result.replaceChildren(h("p", { class: "queued", "data-task": task.id }));
    this.latest = task.id;
    this.#drawNow();
    // On a phone it stands below the whole form.
    this.result.scrollIntoView({ block: "nearest" });
  }

  #drawNow() {
    const trainings = this.board.newest().filter((task) => task.kind !== "query");
    const tasks = trainings.filter((task) => !isFinal(task.state) || this.#started.has(task.id));
    tasks.sort((a, b) => turn(a) - turn(b));
    tasks.slice(0, MOST_ROWS).forEach((task, place) => {
      if (!this.#rows.has(task.id)) this.#rows.set(task.id, row(task.id));
      const { element, update } = this.#rows.get(task.id);
      update(task);
      if (this.now.children[place] !== element) this.now.insertBefore(element, this.now.children[place] ?? null);
    });
    for (const child of [...this.now.children].slice(Math.min(tasks.length, MOST_ROWS))) child.remove();
    if (tasks.length > MOST_ROWS) {
      this.now.append(h("a", { class: "lp-button quiet wide", href: `${root}/jobs` }, t("{n} more", { n: tasks.length - MOST_ROWS })));
    }
    this.now.parentElement.hidden = !tasks.length;
    this.#drawResult();
    this.#drawFacts();
  }

  #drawResult() {
    const line = this.result.querySelector("p[data-task]");
    const task = this.latest && this.board.tasks.get(this.latest);
    if (!line || !task) return;
    const words = { succeeded: t("done"), failed: t("failed"), cancelled: t("stopped"), dead: t("gave up") };
    const text = words[task.state] ?? note(task);
    if (line.dataset.text === text) return;
    line.dataset.text = text;
    line.replaceChildren(h("b", {}, title(task)), `${t(": ")}${text}${t(".")} `, h("a", { href: taskUrl(task.id) }, t("Open the job")));
  }

  #sweep() {
    const queued = (tasks) => {
      for (const task of tasks) this.#started.add(task.id), this.board.tasks.set(task.id, task);
      this.#drawNow();
    };
    sweep({ train: this.#train, fields: this.#fields, values: this.#values, service: this.service.value, queued });
  }

  async #command() {
    let made;
    try {
      made = await this.#train("command", { values: this.#values() });
    } catch (error) {
      toast(error.message, true);
      return;
    }
    const dialog = h(
      "dialog",
      { class: "lp-dialog lp-ui command", onclose: () => dialog.remove(), onclick: (event) => event.target === dialog && dialog.close() },
      h("header", {}, h("h2", {}, t("The command")), h("button", { class: "lp-button", type: "button", onclick: () => dialog.close() }, t("Close"))),
      h("p", { class: "lp-muted" }, t("This is what an instance runs. The files are written into the job's own folder when it is queued.")),
      h("pre", { class: "lp-code", id: "lp-command" }, made.command),
      h("p", {}, h("button", { class: "lp-button", type: "button", onclick: () => copy(made.command) }, t("Copy command"))),
      Object.entries(made.files)
        .filter(([name, text]) => text && name !== "form.json")
        .map(([name, text]) => h("details", {}, h("summary", {}, name), h("pre", { class: "lp-code" }, text))),
    );
    document.body.append(dialog);
    dialog.showModal();
  }
}

/** What ends first stands first. */
function turn(task) {
  if (isFinal(task.state)) return -2;
  return task.state === "waiting" ? (task.position ?? Infinity) : -1;
}

/** The element of that id, as soon as Gradio has drawn it. */
export function appears(id) {
  return new Promise((resolve) => {
    const look = () => {
      const element = document.getElementById(id);
      if (element) resolve(element);
      return Boolean(element);
    };
    if (look()) return;
    const observer = new MutationObserver(() => look() && observer.disconnect());
    observer.observe(document.body, { childList: true, subtree: true });
  });
}

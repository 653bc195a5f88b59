// One task, live: what it does, its log, curve and pictures, what it made, and what can be done with it.

import { Chart } from "./chart.js";
import { ask as question, capital, chip, copy, h, isFinal, root, say, toast } from "./dom.js";
import { ago, clock, count, duration, figure, note, now, title } from "./format.js";
import { files } from "./files.js";
import { Gallery } from "./gallery.js";
import { ask as request, fileUrl, follow, post } from "./live.js";
import { Log, TAIL } from "./log.js";
import { deleteJob } from "./remove.js";
import { drawBar, writes } from "./row.js";
import { Settings } from "./settings.js";
import { said, t } from "./words.js";

export class Task {
  #view = null;
  #cursors = { log: -TAIL, scalars: 0, files: 0 };
  #parts = {};

  /** `tasks()` are those that the page knows, for comparing. */
  constructor(id, { back, open, tasks, deleted }) {
    this.id = id;
    this.open = open;
    this.deleted = deleted;
    this.log = new Log(id);
    this.chart = new Chart(id, tasks);
    this.gallery = new Gallery(id);
    this.files = files(id);
    this.settings = new Settings(id);
    this.back = back;
    this.#build();
    this.connection = follow(() => this.#path(), (message) => this.#take(message));
    this.clock = setInterval(() => this.#view && !isFinal(this.#view.state) && this.#draw(), 1000);
  }

  close() {
    clearInterval(this.clock);
    this.connection.stop();
    this.chart.close();
  }

  #back = () => h("button", { class: "lp-button quiet back", type: "button", onclick: this.back }, t("‹ All jobs"));

  #build() {
    const p = this.#parts;
    p.title = h("h2", {}, "…");
    p.state = h("span", {});
    p.acts = h("div", { class: "acts" });
    p.facts = h("div", { class: "facts" });
    p.reason = h("p", { class: "reason", hidden: true });
    p.doing = h("b", {});
    p.share = h("span", {});
    p.bar = h("div", { class: "lp-track" }, h("i", {}));
    p.numbers = h("dl", { class: "numbers" });
    p.pair = h("div", { class: "pair" }, this.chart.element, this.gallery.element);
    this.element = h(
      "article",
      {},
      h(
        "header",
        { class: "head" },
        this.#back(),
        p.title,
        p.state,
        p.acts,
      ),
      p.facts,
      p.reason,
      h("section", { class: "panel lp-card progress", "aria-label": t("Progress") }, h("div", { class: "line" }, p.doing, p.share), p.bar, p.numbers),
      p.pair,
      this.log.element,
      this.files.element,
      this.settings.element,
    );
  }

  #path() {
    const { log, scalars, files } = this.#cursors;
    return `tasks/${encodeURIComponent(this.id)}?log=${log}&scalars=${scalars}&files=${files}`;
  }

  #take({ event, data }) {
    switch (event) {
      case "task":
        this.#view = data;
        this.#draw();
        break;
      case "log":
        this.log.add(data.lines);
        this.#cursors.log = data.next;
        break;
      case "scalars":
        this.chart.add(data.points);
        this.#cursors.scalars = data.next;
        break;
      case "files":
        this.drawn ||= data.files.some((file) => file.kind === "sample");
        this.gallery.add(data.files.filter((file) => file.kind === "sample"));
        this.files.add(data.files.filter((file) => file.kind !== "sample"));
        this.lora = data.files.findLast((file) => file.kind === "lora") ?? this.lora;
        if (this.#view) this.#draw();
        this.#cursors.files = data.next;
        break;
      case "refused":
        this.element.replaceChildren(
          h("header", { class: "head" }, this.#back()),
          h("div", { class: "lp-card lp-empty" }, h("b", {}, t("This job cannot be shown")), `${capital(said(data.message))}${t(".")}`),
        );
        return false;
      case "end":
        return false;
    }
  }

  #draw() {
    const task = this.#view;
    const p = this.#parts;
    say(p.title, title(task));
    document.title = `${tab(task)} · lorapool`;
    if (p.state.dataset.state !== task.state) p.state.replaceChildren(chip(task.state));
    p.state.dataset.state = task.state;
    this.gallery.expect(!isFinal(task.state));
    this.chart.expect(!isFinal(task.state));
    this.log.expect(!isFinal(task.state));
    // A command that has ended without a step or a picture leaves no room for them.
    p.pair.hidden = isFinal(task.state) && !task.progress && !this.#cursors.scalars && !this.drawn;
    this.#drawFacts(task);
    this.#drawReason(task);
    this.#drawProgress(task);
    this.#drawActs(task);
    this.files.where(task.state === "succeeded" ? task.output : "");
    this.settings.show(task);
  }

  #drawFacts(task) {
    const facts = [
      task.service,
      task.user && t("by {user}", { user: task.user }),
      t("submitted {time}", { time: clock(task.created_at) }),
      task.started_at && t("started {time}", { time: clock(task.started_at) }),
      task.finished_at && t("ended {time}", { time: clock(task.finished_at) }),
      task.instance && !isFinal(task.state) && t("on {instance}", { instance: task.instance }),
      task.attempt > 1 && t("attempt {n}", { n: task.attempt }),
    ].filter(Boolean);
    const text = facts.join("\n");
    if (shows(this.#parts.facts, text)) return;
    this.#parts.facts.replaceChildren(...facts.map((fact) => h("span", {}, fact)));
  }

  #drawReason(task) {
    const { reason } = this.#parts;
    reason.hidden = !task.reason || task.state === "succeeded";
    reason.className = `reason ${task.state}`;
    say(reason, said(task.reason) || "");
  }

  #drawProgress(task) {
    const p = this.#parts;
    const { progress } = task;
    say(p.doing, doing(task));
    say(p.share, progress?.total ? t("{n} %", { n: Math.floor((100 * progress.step) / progress.total) }) : "");
    drawBar(p.bar, task);
    const ran = task.started_at && (task.finished_at ?? now()) - task.started_at;
    const rows = {
      [t("Step")]: progress && `${count(progress.step)} / ${count(progress.total)}`,
      [t("Epoch")]: progress?.epochs && `${progress.epoch} / ${progress.epochs}`,
      [t("Loss")]: progress?.loss && figure(progress.loss),
      [t("Learning rate")]: progress?.lr && figure(progress.lr),
      [t("Speed")]: progress?.seconds_per_step && speed(progress.seconds_per_step),
      [t("Time left")]: task.state === "running" && Number.isFinite(progress?.eta) && duration(progress.eta),
      [t("Elapsed")]: ran && duration(ran),
      [t("Position")]: task.state === "waiting" && task.position && String(task.position),
      [t("Expected start")]: task.state === "waiting" && task.expected_start && clock(task.expected_start),
      [t("Waiting")]: task.state === "waiting" && duration(now() - task.created_at),
    };
    const shown = Object.entries(rows).filter(([, value]) => value);
    const names = shown.map(([name]) => name).join();
    if (!shows(p.numbers, names)) {
      p.numbers.replaceChildren(...shown.map(([name]) => h("div", {}, h("dt", {}, name), h("dd", {}))));
    }
    shown.forEach(([, value], i) => say(p.numbers.children[i].lastChild, value));
    p.numbers.hidden = !shown.length;
  }

  #drawActs(task) {
    const final = isFinal(task.state);
    const download = final && this.lora && [t("Download LoRA"), () => location.assign(`${fileUrl(this.id, this.lora.path)}?download`)];
    const changes = [
      this.lora && task.kind === "command" && [t("Try it"), () => location.assign(`${root}/generate?lora=${encodeURIComponent(this.id)}`)],
      download,
      !final && !task.cancel && [t("Stop"), () => this.#stop("stop")],
      task.state === "running" && task.kind === "command" && !task.cancel && [t("Stop and save"), () => this.#stop("save")],
      task.state === "waiting" && task.position !== 1 && [t("First in line"), () => this.#move(1)],
      task.state === "waiting" && [t("To the end"), () => this.#move(-1)],
      final && [t("Run again"), () => this.#retry()],
      trains(task) && [t("Edit and train"), () => location.assign(`${root}/?from=${encodeURIComponent(this.id)}`)],
      final && [t("Delete"), () => this.#delete()],
    ];
    const acts = (writes ? changes : [download]).filter(Boolean);
    if (shows(this.#parts.acts, acts.map(([name]) => name).join())) return;
    this.#parts.acts.replaceChildren(
      ...acts.map(([name, act]) => h("button", { class: name === t("Try it") ? "lp-button primary" : "lp-button", type: "button", onclick: act }, name)),
    );
  }

  async #stop(mode) {
    const running = this.#view.state === "running";
    const detail =
      mode === "save"
        ? t("It writes its state and the LoRA as it is now, then ends.")
        : t("It ends at once. Checkpoints and pictures made so far are kept.");
    const sure = !running || (await question(mode === "save" ? t("Save and stop this run?") : t("Stop this run?"), mode === "save" ? t("Stop and save") : t("Stop"), detail));
    if (sure) await this.#act(() => post(`live/tasks/${this.id}/cancel`, { mode }));
  }

  #retry() {
    return this.#act(async () => {
      const task = await post(`live/tasks/${this.id}/retry`);
      this.open(task.id);
      toast(task.position ? t("Queued again, position {n}.", { n: task.position }) : t("Queued again."));
    });
  }

  #delete() {
    return this.#act(async () => {
      if (await deleteJob(this.id)) this.deleted();
    });
  }

  /** Before or behind all other tasks that wait for the same service. */
  #move(way) {
    return this.#act(async () => {
      const { tasks } = await request("live/tasks?limit=200");
      const others = tasks.filter((task) => task.state === "waiting" && task.service === this.#view.service && task.id !== this.id);
      const priorities = others.map((task) => task.priority);
      const priority = others.length ? (way > 0 ? Math.max(...priorities) + 1 : Math.min(...priorities) - 1) : this.#view.priority;
      const task = await post(`live/tasks/${this.id}/priority`, { priority });
      toast(task.position ? t("Position {n} now.", { n: task.position }) : t("Moved."));
    });
  }

  async #act(act) {
    for (const button of this.#parts.acts.children) button.disabled = true;
    try {
      await act();
    } catch (error) {
      toast(error.message, true);
    }
    for (const button of this.#parts.acts.children) button.disabled = false;
  }
}

/** Whether an element already shows this; notes that it does. */
function shows(element, text) {
  const same = element.dataset.shows === text;
  element.dataset.shows = text;
  return same;
}

/** Whether its settings are those of the form: any other command has none. */
const trains = (task) => task.kind === "command" && /train\w*\.py\b/.test([task.command, ...(task.argv ?? [])].join(" "));

function doing(task) {
  if (task.state === "running") {
    if (task.cancel) return task.cancel === "save" ? t("Saving, then stopping…") : t("Stopping…");
    return capital(said(task.phase)) || (task.progress ? t("Training") : t("Starting"));
  }
  if (task.state === "succeeded") return t("Done {ago}", { ago: ago(task.finished_at) });
  const words = { waiting: note(task), assigned: t("given to an instance, starting"), failed: t("failed"), cancelled: t("stopped"), dead: t("gave up") };
  return capital(words[task.state] ?? task.state);
}

const speed = (seconds) => (seconds >= 1 ? t("{n} s / step", { n: seconds.toPrecision(3) }) : t("{n} steps / s", { n: (1 / seconds).toPrecision(3) }));

function tab(task) {
  const name = title(task);
  const { progress } = task;
  if (task.state === "running" && progress?.total) return `${Math.floor((100 * progress.step) / progress.total)} % ${name}`;
  return task.state === "succeeded" ? `✓ ${name}` : name;
}

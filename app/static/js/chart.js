// Curves of a run: the loss as it was and smoothed, the learning rate, the speed; beside those of other runs.

import { h, root, say, toast } from "./dom.js";
import { count, figure } from "./format.js";
import { ask } from "./live.js";
import { t } from "./words.js";

const SMOOTHING = 0.95;

const KINDS = {
  loss: { title: t("Loss"), of: (p) => p.loss },
  lr: { title: t("Learning rate"), of: (p) => p.lr },
  speed: { title: t("s / step"), of: (p) => p.seconds_per_step },
};

/** Of the other runs, to be told apart by people who see few colours, too (Okabe & Ito 2008). */
const COLOURS = ["#d55e00", "#009e73", "#cc79a7", "#e69f00"];

let library;

/** uPlot, loaded with the first curve. */
export function plots() {
  library ??= new Promise((resolve, reject) => {
    document.head.append(h("link", { rel: "stylesheet", href: `${root}/ui/vendor/uplot/uPlot.min.css` }));
    document.head.append(
      h("script", {
        src: `${root}/ui/vendor/uplot/uPlot.iife.min.js`,
        onload: () => resolve(window.uPlot),
        onerror: () => reject(new Error(t("The chart could not be loaded."))),
      }),
    );
  });
  return library;
}

export class Chart {
  #points = [];
  #kind = "loss";
  #plot = null;
  #planned = false;
  #expected = "";
  #others = new Map();

  constructor(id, tasks) {
    this.id = id;
    this.tasks = tasks;
    this.others = h("div", { class: "others" });
    this.chooser = h("select", { "aria-label": t("Compare with another run"), onfocus: () => this.#offer(), onchange: () => this.#compare(this.chooser.value) }, h("option", { value: "" }, t("Compare with…")));
    this.box = h("div", { class: "chart", role: "img", "aria-label": t("Curve, nothing drawn yet") });
    this.tip = h("div", { class: "tip" });
    this.empty = h("p", { class: "lp-empty" });
    this.tabs = h(
      "div",
      { class: "tabs" },
      Object.entries(KINDS).map(([key, { title }]) =>
        h("button", { type: "button", "data-kind": key, "aria-pressed": key === this.#kind, onclick: () => this.#show(key) }, title),
      ),
    );
    this.box.append(this.empty);
    this.element = h("section", { class: "panel lp-card" }, h("header", {}, h("h3", {}, t("Curve")), this.tabs), this.box, this.others);
    this.others.append(this.chooser);
    this.others.hidden = true;
    new ResizeObserver(() => this.#resize()).observe(this.box);
    addEventListener("lorapool-theme", this.#rebuild);
    this.expect(true);
  }

  /** Whether points may still come. */
  expect(more) {
    this.#expected = more ? t("The curve draws itself as soon as the first steps are done.") : t("This task has reported no steps.");
    if (!this.#points.length) say(this.empty, this.#expected);
  }

  close() {
    removeEventListener("lorapool-theme", this.#rebuild);
    this.#destroy();
  }

  /** `points` in the order of their numbers. */
  add(points) {
    join(this.#points, points);
    this.#plan();
  }

  /** The other trainings that have begun, newest first. */
  #offer() {
    const fits = this.tasks().filter((task) => task.kind !== "query" && task.started_at && task.id !== this.id && !this.#others.has(task.id));
    this.chooser.replaceChildren(
      h("option", { value: "" }, fits.length ? t("Compare with…") : t("No other run yet")),
      ...fits.slice(0, 50).map((task) => h("option", { value: task.id }, task.name || task.id)),
    );
  }

  async #compare(id) {
    const name = this.chooser.selectedOptions[0]?.textContent;
    this.chooser.value = "";
    if (!id) return;
    try {
      const points = [];
      for (let after = 0, more = true; more; ) {
        const page = await ask(`live/tasks/${encodeURIComponent(id)}/scalars?after=${after}`);
        join(points, page.points);
        more = page.points.length > 0 && page.next > after;
        after = page.next;
      }
      if (points.length < 2) throw new Error(t("{name} has reported no steps.", { name }));
      const taken = new Set([...this.#others.values()].map(({ colour }) => colour));
      const colour = COLOURS.find((each) => !taken.has(each));
      const chip = h("button", { class: "other", type: "button", "aria-label": t("Take {name} away", { name }), onclick: () => this.#away(id) }, h("i", { style: `background: ${colour}` }), name, " ×");
      this.#others.set(id, { points, colour, chip });
      this.others.insertBefore(chip, this.chooser);
      this.chooser.hidden = this.#others.size === COLOURS.length;
      this.#rebuild();
    } catch (error) {
      toast(error.message, true);
    }
  }

  #away(id) {
    this.#others.get(id).chip.remove();
    this.#others.delete(id);
    this.chooser.hidden = false;
    this.#rebuild();
  }

  #show(kind) {
    this.#kind = kind;
    for (const tab of this.tabs.children) tab.setAttribute("aria-pressed", tab.dataset.kind === kind);
    this.#rebuild();
  }

  #plan() {
    if (this.#planned) return;
    this.#planned = true;
    setTimeout(() => requestAnimationFrame(() => ((this.#planned = false), this.#draw())), 150);
  }

  /** Steps, values, and the mean of what jumps about. */
  #series(points) {
    const { of } = KINDS[this.#kind];
    const steps = [];
    const values = [];
    for (const point of points) {
      const value = of(point);
      if (Number.isFinite(value)) steps.push(point.step), values.push(value);
    }
    return this.#kind === "loss" ? [steps, values, smoothed(values)] : [steps, values];
  }

  /** The run's own series and, at the same steps, the others': of a loss its mean only. */
  #data(uPlot) {
    const own = this.#series(this.#points);
    if (!this.#others.size) return own;
    const others = [...this.#others.values()].map(({ points }) => {
      const [steps, ...values] = this.#series(points);
      return [steps, values.at(-1)];
    });
    return uPlot.join([own, ...others]);
  }

  async #draw() {
    const own = this.#series(this.#points);
    this.box.dataset.points = own[0].length;
    this.others.hidden = own[0].length < 2;
    if (own[0].length < 2) {
      this.#destroy();
      say(this.empty, this.#points.length > 1 ? t("This run does not report it.") : this.#expected);
      return;
    }
    const uPlot = await plots();
    if (!this.#plot) {
      this.empty.remove();
      this.#plot = new uPlot(this.#options(), this.#data(uPlot), this.box);
      this.box.append(this.tip);
    } else this.#plot.setData(this.#data(uPlot));
    this.box.dataset.curves = 1 + this.#others.size;
    this.#tell(null);
  }

  #options() {
    const style = getComputedStyle(this.box);
    const colour = (name) => style.getPropertyValue(name).trim();
    const line = { stroke: colour("--lp-accent"), width: 2, points: { show: false } };
    const raw = { stroke: `color-mix(in srgb, ${colour("--lp-accent")} 45%, transparent)`, width: 1, points: { show: false } };
    const axis = {
      stroke: colour("--lp-muted"),
      font: `11.5px ${colour("--lp-font")}`,
      grid: { stroke: colour("--lp-line"), width: 1 },
      ticks: { show: false },
    };
    return {
      ...this.#size(),
      padding: [10, 12, 0, 0],
      scales: { x: { time: false } },
      cursor: { y: false, points: { size: 7 }, drag: { x: true, y: false } },
      series: [
        {},
        ...(this.#kind === "loss" ? [raw, line] : [line]),
        ...[...this.#others.values()].map(({ colour: stroke }) => ({ stroke, width: 2, spanGaps: true, points: { show: false } })),
      ].map((series) => ({ spanGaps: true, ...series })),
      axes: [
        { ...axis, size: 28, grid: { show: false }, values: (_, ticks) => ticks.map((t) => (Number.isInteger(t) ? count(t) : "")) },
        { ...axis, size: 58, values: (_, ticks) => ticks.map(figure) },
      ],
      hooks: { setCursor: [(plot) => this.#tell(plot.cursor.idx)] },
    };
  }

  #tell(index) {
    const [steps, values, mean] = this.#plot.data;
    const last = values.findLastIndex((value) => Number.isFinite(value));
    const i = index ?? last;
    const smooth = this.#kind === "loss" && mean ? ` · ${t("mean {value}", { value: figure(mean[i]) })}` : "";
    const text = `${t("step {n}", { n: count(steps[i]) })} · ${figure(values[i])}${smooth}`;
    say(this.tip, text);
    if (index === null || index === undefined) this.box.setAttribute("aria-label", `${KINDS[this.#kind].title}${t(": ")}${text}`);
  }

  #size() {
    return { width: Math.max(120, this.box.clientWidth - 14), height: Math.max(120, this.box.clientHeight - 12) };
  }

  #resize() {
    this.#plot?.setSize(this.#size());
  }

  #destroy() {
    this.#plot?.destroy();
    this.#plot = null;
    this.tip.remove();
    this.box.append(this.empty);
  }

  #rebuild = () => {
    if (this.#plot) this.#destroy();
    this.#plan();
  };
}

/** Adds points to those of a run; a resumed one may go back to an earlier step, whose points then go. */
function join(known, points) {
  for (const point of points) {
    if (point.step === null || point.step === undefined) continue;
    while (known.length && known.at(-1).step >= point.step) known.pop();
    known.push(point);
  }
}

/** An exponential mean that starts unbiased, as in Adam (Kingma & Ba 2015, section 3). */
function smoothed(values) {
  let mean = 0;
  let weight = 0;
  return values.map((value) => {
    mean = SMOOTHING * mean + (1 - SMOOTHING) * value;
    weight = SMOOTHING * weight + (1 - SMOOTHING);
    return mean / weight;
  });
}

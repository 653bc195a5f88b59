// Curves of one run: the loss as it was and smoothed, the learning rate, the speed.

import { h, root, say } from "./dom.js";
import { count, figure } from "./format.js";

const SMOOTHING = 0.95;

const KINDS = {
  loss: { title: "Loss", of: (p) => p.loss },
  lr: { title: "Learning rate", of: (p) => p.lr },
  speed: { title: "s / step", of: (p) => p.seconds_per_step },
};

let library;

/** uPlot, loaded with the first curve. */
function uplot() {
  library ??= new Promise((resolve, reject) => {
    document.head.append(h("link", { rel: "stylesheet", href: `${root}/ui/vendor/uplot/uPlot.min.css` }));
    document.head.append(
      h("script", {
        src: `${root}/ui/vendor/uplot/uPlot.iife.min.js`,
        onload: () => resolve(window.uPlot),
        onerror: () => reject(new Error("The chart could not be loaded.")),
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

  constructor() {
    this.box = h("div", { class: "chart", role: "img", "aria-label": "Curve, nothing drawn yet" });
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
    this.element = h("section", { class: "panel lp-card" }, h("header", {}, h("h3", {}, "Curve"), this.tabs), this.box);
    new ResizeObserver(() => this.#resize()).observe(this.box);
    addEventListener("lorapool-theme", this.#rebuild);
    this.expect(true);
  }

  /** Whether points may still come. */
  expect(more) {
    this.#expected = more ? "The curve draws itself as soon as the first steps are done." : "This task has reported no steps.";
    if (!this.#points.length) say(this.empty, this.#expected);
  }

  close() {
    removeEventListener("lorapool-theme", this.#rebuild);
    this.#destroy();
  }

  /** `points` in the order of their numbers; a resumed run may go back to an earlier step, whose points then go. */
  add(points) {
    for (const point of points) {
      if (point.step === null || point.step === undefined) continue;
      while (this.#points.length && this.#points.at(-1).step >= point.step) this.#points.pop();
      this.#points.push(point);
    }
    this.#plan();
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

  #series() {
    const { of } = KINDS[this.#kind];
    const steps = [];
    const values = [];
    for (const point of this.#points) {
      const value = of(point);
      if (Number.isFinite(value)) steps.push(point.step), values.push(value);
    }
    return this.#kind === "loss" ? [steps, values, smoothed(values)] : [steps, values];
  }

  async #draw() {
    const data = this.#series();
    this.box.dataset.points = data[0].length;
    if (data[0].length < 2) {
      this.#destroy();
      say(this.empty, this.#points.length > 1 ? "This run does not report it." : this.#expected);
      return;
    }
    if (!this.#plot) {
      const uPlot = await uplot();
      if (this.#plot) return;
      this.empty.remove();
      this.#plot = new uPlot(this.#options(uPlot), data, this.box);
      this.box.append(this.tip);
    } else this.#plot.setData(data);
    this.#tell(null);
  }

  #options(uPlot) {
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
      series: [{}, ...(this.#kind === "loss" ? [raw, line] : [line])],
      axes: [
        { ...axis, size: 28, grid: { show: false }, values: (_, ticks) => ticks.map((t) => (Number.isInteger(t) ? count(t) : "")) },
        { ...axis, size: 58, values: (_, ticks) => ticks.map(figure) },
      ],
      hooks: { setCursor: [(plot) => this.#tell(plot.cursor.idx)] },
    };
  }

  #tell(index) {
    const [steps, values, mean] = this.#plot.data;
    const i = index ?? steps.length - 1;
    const smooth = mean ? ` · mean ${figure(mean[i])}` : "";
    const text = `step ${count(steps[i])} · ${figure(values[i])}${smooth}`;
    say(this.tip, text);
    if (index === null || index === undefined) this.box.setAttribute("aria-label", `${KINDS[this.#kind].title}: ${text}`);
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

// A service over time: how long its queue was, how many instances there were and how many of them worked.

import { plots } from "./chart.js";
import { h, say } from "./dom.js";
import { ask } from "./live.js";
import { language, t } from "./words.js";

const EVERY = 10_000;
const KEPT = "lorapool.hours";
const SPANS = { 1: t("1 hour"), 24: t("24 hours"), 168: t("7 days") };
const COLOURS = { waiting: "--lp-accent", instances: "--lp-muted", busy: "--lp-good" };

export class Past {
  #name = null;
  #hours = 24;
  #plot = null;
  #data = null;

  constructor() {
    try {
      this.#hours = Number(localStorage.getItem(KEPT)) || 24;
    } catch {
      // A browser that keeps nothing shows a day.
    }
    this.tabs = h(
      "div",
      { class: "tabs", role: "group", "aria-label": t("How far back") },
      Object.entries(SPANS).map(([hours, title]) => h("button", { type: "button", "data-hours": hours, onclick: () => this.#span(Number(hours)) }, title)),
    );
    this.legend = h("div", { class: "legend" });
    this.box = h("div", { class: "past", role: "img", "aria-label": t("Queue and instances over time") });
    this.empty = h("p", { class: "lp-empty" }, t("Nothing has happened here yet."));
    this.element = h("section", { class: "panel lp-card" }, h("header", {}, h("h2", {}, t("Over time")), this.legend, this.tabs), this.empty, this.box);
    new ResizeObserver(() => this.#plot?.setSize(this.#size())).observe(this.box);
    addEventListener("lorapool-theme", () => this.#again());
    this.#mark();
    setInterval(() => !document.hidden && this.#read(), EVERY);
  }

  /** Show another service; null for none. */
  of(name) {
    this.#name = name;
    this.#read();
  }

  #span(hours) {
    this.#hours = hours;
    try {
      localStorage.setItem(KEPT, String(hours));
    } catch {
      // It is chosen for this visit all the same.
    }
    this.#mark();
    this.#read();
  }

  #mark() {
    for (const tab of this.tabs.children) tab.setAttribute("aria-pressed", Number(tab.dataset.hours) === this.#hours);
  }

  async #read() {
    if (!this.#name) return;
    const [name, hours] = [this.#name, this.#hours];
    try {
      const { moments, now } = await ask(`live/services/${encodeURIComponent(name)}/history?hours=${hours}`);
      if (name !== this.#name || hours !== this.#hours) return;
      this.#take(moments, now);
    } catch {
      // What is drawn stays; the page says elsewhere that the gateway is away.
    }
  }

  #take(moments, now) {
    const begin = now - this.#hours * 3600;
    const last = moments.at(-1);
    const all = last ? [...moments.map((each) => ({ ...each, at: Math.max(begin, each.at) })), { ...last, at: Math.max(now, last.at) }] : [];
    const instances = (each) => each.starting + each.idle + each.busy + each.draining;
    this.#data = [all.map(({ at }) => at), all.map(({ waiting }) => waiting), all.map(instances), all.map(({ busy }) => busy)];
    this.box.dataset.points = moments.length;
    this.empty.hidden = all.length > 0;
    this.box.hidden = !all.length;
    this.#draw();
  }

  #again() {
    this.#plot?.destroy();
    this.#plot = null;
    if (this.#data) this.#draw();
  }

  async #draw() {
    if (!this.#data[0].length) return;
    const uPlot = await plots();
    if (this.#plot) return this.#plot.setData(this.#data);
    this.#plot = new uPlot(this.#options(uPlot), this.#data, this.box);
    this.#tell(null);
  }

  #size = () => ({ width: Math.max(200, this.box.clientWidth), height: 190 });

  #options(uPlot) {
    const style = getComputedStyle(this.box);
    const colour = (name) => style.getPropertyValue(name).trim();
    const stepped = uPlot.paths.stepped({ align: 1 });
    const axis = { stroke: colour("--lp-muted"), font: `11.5px ${colour("--lp-font")}`, grid: { stroke: colour("--lp-line"), width: 1 }, ticks: { show: false } };
    const series = Object.values(COLOURS).map((name, i) => ({ stroke: colour(name), width: i ? 1.5 : 2, paths: stepped, points: { show: false } }));
    return {
      ...this.#size(),
      padding: [10, 30, 0, 0],
      legend: { show: false },
      cursor: { y: false, points: { size: 7 }, drag: { x: true, y: false } },
      scales: { x: { time: true }, y: { range: (_, __, high) => [0, Math.max(1, high) * 1.08] } },
      series: [{}, ...series],
      axes: [
        { ...axis, size: 28, grid: { show: false }, incrs: STEPS, values: (_, ticks) => ticks.map(when(this.#hours)) },
        { ...axis, size: 40, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000] },
      ],
      hooks: { setCursor: [(plot) => this.#tell(plot.cursor.idx)], setData: [() => this.#tell(null)] },
    };
  }

  /** What each line is, and what it is at the cursor, or now. */
  #tell(index) {
    const names = [t("queued"), t("instances"), t("at work")];
    const at = index ?? this.#data[0].length - 1;
    const texts = names.map((name, i) => `${name} ${this.#data[i + 1][at] ?? 0}`);
    if (this.legend.children.length !== names.length) {
      this.legend.replaceChildren(...Object.values(COLOURS).map((colour) => h("span", {}, h("i", { style: `background: var(${colour})` }), h("b", {}))));
    }
    texts.forEach((text, i) => say(this.legend.children[i].lastChild, text));
  }
}

/** Seconds between two times at the axis, from a minute on: they are written without seconds. */
const STEPS = [60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800];

const when = (hours) => (at) => {
  const date = new Date(at * 1000);
  const midnight = date.getHours() === 0 && date.getMinutes() === 0;
  if (hours > 24 || midnight) return date.toLocaleDateString(language, { day: "numeric", month: "short" });
  return date.toLocaleTimeString(language, { hour: "2-digit", minute: "2-digit" });
};

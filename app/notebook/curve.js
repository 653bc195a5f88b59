// The curve of a run. `uPlot` is put before this file.

const KINDS = {
  loss: { title: "Loss", lines: (data) => [data.loss, data.mean] },
  lr: { title: "Learning rate", lines: (data) => [data.lr] },
};

/** Distances between two marks at the axis of steps: whole ones. */
const STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000];

const figure = (value) =>
  !Number.isFinite(value) ? "–" : value !== 0 && Math.abs(value) < 0.001 ? value.toExponential(1) : String(+value.toPrecision(4));

function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function render({ model, el }) {
  let kind = "loss";
  let plot = null;
  const box = make("div", { class: "lpn-curve", role: "img" });
  const tip = make("span", { class: "lpn-tip" });
  const tabs = make("span", { class: "lpn-tabs" });
  for (const [key, { title }] of Object.entries(KINDS)) {
    const tab = make("button", { type: "button", "aria-pressed": key === kind }, title);
    tab.onclick = () => {
      kind = key;
      for (const each of tabs.children) each.setAttribute("aria-pressed", each === tab);
      clear();
      draw();
    };
    tabs.append(tab);
  }
  el.append(make("div", { class: "lpn-head" }, tabs, tip), box);

  function clear() {
    plot?.destroy();
    plot = null;
  }

  function options() {
    const style = getComputedStyle(box);
    const ink = style.color;
    const accent = style.getPropertyValue("--lpn-accent");
    const faint = style.getPropertyValue("--lpn-line");
    const axis = { stroke: ink, grid: { stroke: faint, width: 1 }, ticks: { show: false }, font: `11px ${style.fontFamily}` };
    const strong = { stroke: accent, width: 2, points: { show: false } };
    const raw = { ...strong, width: 1, alpha: 0.4 };
    return {
      width: Math.max(160, box.clientWidth),
      height: 200,
      legend: { show: false },
      scales: { x: { time: false } },
      cursor: { y: false },
      series: [{}, ...(kind === "loss" ? [raw, strong] : [strong])],
      axes: [{ ...axis, size: 26, incrs: STEPS }, { ...axis, size: 60, values: (_, ticks) => ticks.map(figure) }],
      hooks: { setCursor: [() => tell(plot?.cursor.idx)] },
    };
  }

  function tell(index) {
    const { steps, mean, lr } = model.get("data");
    const at = index ?? steps.length - 1;
    const value = kind === "loss" ? `mean loss ${figure(mean[at])}` : `learning rate ${figure(lr[at])}`;
    tip.textContent = steps.length ? `step ${steps[at]} · ${value}` : "The curve draws itself as soon as the first steps are done.";
    if (index === undefined || index === null) box.setAttribute("aria-label", `${KINDS[kind].title}: ${tip.textContent}`);
  }

  function draw() {
    const data = model.get("data");
    box.dataset.points = data.steps.length;
    tell();
    if (data.steps.length < 2) return clear();
    const drawn = [data.steps, ...KINDS[kind].lines(data)];
    if (plot) plot.setData(drawn);
    else plot = new uPlot(options(), drawn, box);
  }

  model.on("change:data", draw);
  const sizes = new ResizeObserver(() => plot?.setSize({ width: Math.max(160, box.clientWidth), height: 200 }));
  sizes.observe(box);
  draw();
  return () => {
    model.off("change:data", draw);
    sizes.disconnect();
    clear();
  };
}

export default { render };

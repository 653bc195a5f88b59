// The form of the Generate page: prompt, model, LoRAs, size, seed and so on; kept in this browser.

import { h, root, say, states, toast } from "./dom.js";
import { keep, stored } from "./kept.js";
import { ask } from "./live.js";
import { t } from "./words.js";

const STORED = "lorapool.generate";
const LARGEST_PICTURE = 15 << 20;
const SENT_AS_IT_IS = 4 << 20; // a queue takes 8 MiB, and a picture in it is a third larger
const LARGEST_SIDE = 2048;
const SCHEDULERS = ["default", "ddim", "pndm", "lms", "euler", "euler_a", "heun", "dpm_2", "dpm_2_a", "dpm++_2m", "dpm++_2m_karras", "dpm++_sde", "unipc"];
const NUMBERS = {
  width: { label: t("Width"), min: 64, max: 4096, step: 8, placeholder: t("auto") },
  height: { label: t("Height"), min: 64, max: 4096, step: 8, placeholder: t("auto") },
  steps: { label: t("Steps"), min: 1, max: 1000, placeholder: "30" },
  guidance: { label: t("Guidance"), min: 0, max: 100, step: "any", placeholder: "7.5" },
  seed: { label: t("Seed"), min: 0, step: 1, placeholder: t("random") },
  count: { label: t("Pictures"), min: 1, max: 64, placeholder: "1" },
};

const groupName = () => crypto.randomUUID?.() ?? `${Date.now()}-${Math.random().toString(36).slice(2)}`;

export class Wish {
  #picture = null;
  #loras = [];
  #known = { models: [], loras: [], trainings: [], service: "" };

  /** `draw(wanted)` queues; it throws with words for a person. */
  constructor(draw) {
    this.draw = draw;
    this.prompt = h("textarea", { id: "w-prompt", rows: 3, placeholder: "a yellow star in sks style" });
    this.negative = h("textarea", { id: "w-negative", rows: 2, placeholder: t("what must not be in it") });
    this.model = h("select", { id: "w-model" });
    this.list = h("div", { class: "loras" });
    this.numbers = Object.fromEntries(Object.entries(NUMBERS).map(([key, { label, ...about }]) => [key, h("input", { id: `w-${key}`, type: "number", inputmode: "decimal", ...about })]));
    this.scheduler = h("select", { id: "w-scheduler" }, SCHEDULERS.map((name) => h("option", {}, name)));
    this.compare = h("input", { type: "checkbox" });
    this.strength = h("input", { id: "w-strength", type: "number", min: 0.05, max: 1, step: 0.05, value: 0.75 });
    this.training = h("select", { id: "w-training" });
    this.weights = h("input", { id: "w-weights", value: "0.6, 0.8, 1", inputmode: "text", autocomplete: "off" });
    this.problem = h("p", { class: "problem", role: "alert" });
    this.button = h("button", { class: "lp-button primary wide", type: "submit" }, t("Generate"));
    this.element = this.#build();
    this.element.addEventListener("change", () => this.#store());
    this.element.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.element.requestSubmit();
    });
    this.#begin();
  }

  #build() {
    const row = (label, id, input) => h("div", { class: "field" }, h("label", { for: id }, label), input);
    const number = (key) => row(NUMBERS[key].label, `w-${key}`, this.numbers[key]);
    this.grid = h("div", { class: "two", hidden: true }, row(t("Training"), "w-training", this.training), row(t("Weights"), "w-weights", this.weights));
    this.single = h("div", {}, h("h2", {}, t("LoRAs")), this.list, h("button", { class: "lp-button quiet", type: "button", onclick: () => this.#addLora({}) }, t("+ Add a LoRA")));
    this.comparing = h("label", { class: "check", hidden: true }, this.compare, t("Draw it without the LoRA, too"));
    this.modes = h(
      "div",
      { class: "tabs", role: "group", "aria-label": t("What to draw") },
      [["pictures", t("Pictures")], ["grid", t("Checkpoint grid")]].map(([mode, title]) =>
        h("button", { type: "button", "data-mode": mode, "aria-pressed": mode === "pictures", onclick: () => (this.#mode(mode), this.#store()) }, title),
      ),
    );
    this.gridNote = h("p", { class: "lp-muted hint", hidden: true }, t("One prompt with every saved epoch of a training, at each weight, shared out over all instances."));
    return h(
      "form",
      { class: "lp-card", novalidate: true, onsubmit: (event) => (event.preventDefault(), this.submit()) },
      h("header", {}, h("h1", {}, t("Generate")), this.modes),
      this.gridNote,
      row(t("Prompt"), "w-prompt", this.prompt),
      row(t("Negative prompt"), "w-negative", this.negative),
      this.grid,
      row(t("Model"), "w-model", this.model),
      this.single,
      this.comparing,
      h("div", { class: "two" }, number("width"), number("height"), number("steps"), number("guidance"), number("seed"), (this.counted = number("count"))),
      h("details", {}, h("summary", {}, t("Start from a picture, scheduler")), this.#start(row), row(t("Scheduler"), "w-scheduler", this.scheduler)),
      h("div", { class: "go" }, this.problem, this.button),
    );
  }

  #start(row) {
    const chooser = h("input", { type: "file", accept: "image/png,image/jpeg,image/webp", hidden: true });
    this.thumb = h("img", { alt: t("The picture to start from"), hidden: true });
    this.clear = h("button", { class: "lp-button quiet", type: "button", hidden: true, onclick: () => this.#setPicture(null) }, t("Remove"));
    this.strong = h("div", { hidden: true }, row(t("How much of it is painted over"), "w-strength", this.strength));
    chooser.addEventListener("change", async () => {
      const [file] = chooser.files;
      chooser.value = "";
      if (!file) return;
      if (file.size > LARGEST_PICTURE) return toast(t("{file} is too large to start from; make it smaller than 15 MB.", { file: file.name }), true);
      this.#setPicture(await dataUrl(await fitting(file)));
    });
    return h("div", { class: "start" }, h("div", { class: "from" }, this.thumb, h("button", { class: "lp-button", type: "button", onclick: () => chooser.click() }, t("Choose a picture…")), this.clear, chooser), this.strong);
  }

  #setPicture(url) {
    this.#picture = url;
    this.thumb.hidden = this.clear.hidden = this.strong.hidden = !url;
    if (url) this.thumb.src = url;
  }

  async #begin() {
    const kept = stored(STORED);
    if (kept) this.put(kept.settings, kept);
    await this.#look();
    const wanted = new URLSearchParams(location.search);
    if (wanted.has("lora")) await this.#tryIt(wanted.get("lora"), wanted.has("grid"), wanted.get("checkpoint"));
    // What has been trained or put there meanwhile.
    document.addEventListener("visibilitychange", () => !document.hidden && this.#look());
  }

  async #look() {
    try {
      this.#known = await ask("drawing/choices");
    } catch (error) {
      say(this.problem, error.message);
      return;
    }
    const { models, trainings, service } = this.#known;
    options(this.model, models.map(({ name, path }) => [path, name]), models.length ? "" : t("no model yet"));
    options(this.training, trainings.map(({ id, name, state }) => [id, state === "succeeded" ? name : `${name} (${states[state] ?? state})`]));
    for (const line of this.#loras) this.#offer(line);
    say(this.problem, service ? "" : t('No service draws pictures. One does whose container says "app": "built-in".'));
  }

  /** The LoRA of a finished training, the model that it was made for, and a prompt that it was trained to draw. */
  async #tryIt(id, asGrid, checkpoint) {
    history.replaceState(null, "", `${root}/generate`);
    let task;
    try {
      task = await ask(`live/tasks/${encodeURIComponent(id)}`);
    } catch (error) {
      return toast(error.message, true);
    }
    const file = task.output?.split("/").at(-1);
    const lora = this.#known.loras.find(({ path, task: of }) => of === id || (file && path.endsWith(`/${file}`)));
    const settings = task.details?.settings ?? {};
    const sample = promptOf(settings.sample_prompts ?? "");
    const model = this.#known.models.find(({ path, name }) => [path, name].includes(task.details?.model) || [path, name].includes(lora?.base_model));
    this.put({ ...sample, prompt: sample.prompt || this.prompt.value, model: model?.path, loras: checkpoint || lora ? [{ name: checkpoint ?? lora.path, weight: 1 }] : [] }, { mode: asGrid ? "grid" : "pictures", training: id, compare: true });
    if (!lora && !asGrid && !checkpoint) toast(t("Its LoRA is not among those of the data folder any more."), true);
    this.#store();
    this.button.focus();
  }

  /** Fill the form with the settings of a drawing; what they leave out is as usual. */
  put(settings, { mode = "pictures", training, weights, compare = false, from } = {}) {
    this.prompt.value = settings.prompt ?? "";
    this.negative.value = settings.negative_prompt ?? "";
    for (const [key, input] of Object.entries(this.numbers)) input.value = settings[key] ?? "";
    this.scheduler.value = SCHEDULERS.includes(settings.scheduler) ? settings.scheduler : "default";
    if (settings.strength) this.strength.value = settings.strength;
    choose(this.model, settings.model);
    if (training) choose(this.training, training);
    if (weights) this.weights.value = weights;
    this.#loras = [];
    this.list.replaceChildren();
    for (const lora of settings.loras ?? []) this.#addLora(lora);
    this.compare.checked = compare;
    if (from) this.#startFrom(from);
    this.#mode(mode);
  }

  async #startFrom(url) {
    try {
      this.#setPicture(await dataUrl(await fitting(await (await fetch(url)).blob())));
      this.thumb.closest("details").open = true;
    } catch {
      toast(t("The picture cannot be fetched; try again."), true);
    }
  }

  #mode(mode) {
    this.mode = mode;
    for (const tab of this.modes.children) tab.setAttribute("aria-pressed", tab.dataset.mode === mode);
    const isGrid = mode === "grid";
    this.grid.hidden = this.gridNote.hidden = !isGrid;
    this.counted.hidden = isGrid;
    this.single.hidden = isGrid;
    this.#comparable();
  }

  #comparable() {
    this.comparing.hidden = this.mode === "grid" || !this.#loras.length;
  }

  #addLora({ name = "", weight = 1 }) {
    const select = h("select", { "aria-label": t("LoRA") });
    const amount = h("input", { type: "number", "aria-label": t("Weight"), min: -10, max: 10, step: 0.05, value: weight });
    const line = { select, amount, name };
    const away = () => {
      this.#loras = this.#loras.filter((each) => each !== line);
      line.element.remove();
      this.#comparable();
      this.#store();
    };
    line.element = h("div", { class: "lora" }, select, amount, h("button", { class: "lp-button quiet", type: "button", "aria-label": t("Remove this LoRA"), onclick: away }, "×"));
    select.addEventListener("change", () => (line.name = select.value));
    this.#loras.push(line);
    this.list.append(line.element);
    this.#offer(line);
    this.#comparable();
  }

  #offer(line) {
    const known = this.#known.loras.map(({ name, path }) => [path, name]);
    const named = this.#known.loras.find(({ name, path }) => [name, path].includes(line.name));
    line.name = named?.path ?? line.name;
    if (line.name && !named) known.unshift([line.name, line.name.split("/").at(-1)]);
    options(line.select, known, known.length ? "" : t("no LoRA has been trained yet"), line.name);
    line.name = line.select.value;
  }

  settings() {
    const numbers = Object.entries(this.numbers).filter(([, input]) => input.value !== "").map(([key, input]) => [key, Number(input.value)]);
    return {
      prompt: this.prompt.value.trim(),
      negative_prompt: this.negative.value.trim(),
      model: this.model.value,
      ...Object.fromEntries(numbers),
      ...(this.scheduler.value !== "default" && { scheduler: this.scheduler.value }),
      loras: this.mode === "grid" ? [] : this.#loras.filter(({ name }) => name).map(({ name, amount }) => ({ name, weight: Number(amount.value || 1) })),
    };
  }

  async submit() {
    if (this.button.disabled) return;
    this.#store();
    const values = this.settings();
    if (!values.prompt) return this.#wrong(t("Say what is to be drawn."), this.prompt);
    const bad = this.element.querySelector("input:invalid");
    if (bad) return this.#wrong([bad.labels?.[0]?.textContent || bad.ariaLabel || t("A number"), bad.validationMessage].join(t(": ")), bad);
    if (this.#picture) Object.assign(values, { image: this.#picture.split(",")[1], strength: Number(this.strength.value) });
    const wanted = { group: groupName(), values, compare: this.compare.checked };
    if (this.mode === "grid") {
      const weights = this.weights.value.split(/[,;\s]+/).filter(Boolean).map(Number);
      if (!weights.length || weights.some((weight) => !Number.isFinite(weight))) return this.#wrong(t("Weights are numbers such as 0.6, 0.8, 1."), this.weights);
      if (!this.training.value) return this.#wrong(t("Choose a training whose checkpoints are to be drawn."), this.training);
      Object.assign(wanted, { training: this.training.value, weights, compare: false });
    }
    say(this.problem, "");
    this.button.disabled = true;
    try {
      await this.draw(wanted);
    } catch (error) {
      say(this.problem, error.message);
    }
    this.button.disabled = false;
  }

  #wrong(words, field) {
    say(this.problem, words);
    field.focus();
  }

  #store() {
    keep(STORED, { settings: this.settings(), mode: this.mode, training: this.training.value, weights: this.weights.value, compare: this.compare.checked });
  }
}

/** Offer `pairs` of value and title; what is chosen stays chosen. */
function options(select, pairs, none = "", wanted = select.dataset.wanted || select.value) {
  const all = none || !pairs.length ? [["", none || t("none yet")], ...pairs] : pairs;
  select.replaceChildren(...all.map(([value, title]) => h("option", { value }, title)));
  select.value = wanted;
  if (select.selectedIndex < 0) select.selectedIndex = 0;
}

/** Choose a value that may not be offered yet. */
function choose(select, value) {
  select.dataset.wanted = value ?? "";
  if (value) select.value = value;
}

/** The first line of Kohya's sample prompts: its text, and what --w, --h, --s, --l, --d, --n say. */
export function promptOf(lines) {
  const line = lines.split("\n").map((each) => each.trim()).find((each) => each && !each.startsWith("#")) ?? "";
  const [prompt, ...parts] = line.split(/\s+--(?=[a-z]+\s)/);
  const names = { w: "width", h: "height", s: "steps", l: "guidance", d: "seed", n: "negative_prompt" };
  const found = { prompt };
  for (const part of parts) {
    const [key, ...value] = part.split(/\s+/);
    if (names[key]) found[names[key]] = key === "n" ? value.join(" ") : Number(value[0]);
  }
  return found;
}

/** The picture, made smaller where it is more than a queue takes; what this browser cannot read is for the app to judge. */
async function fitting(file) {
  if (file.size <= SENT_AS_IT_IS) return file;
  try {
    const picture = await createImageBitmap(file);
    const scale = Math.min(1, LARGEST_SIDE / Math.max(picture.width, picture.height));
    const canvas = h("canvas", { width: Math.round(picture.width * scale), height: Math.round(picture.height * scale) });
    canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
    return (await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.92))) ?? file;
  } catch {
    return file;
  }
}

function dataUrl(file) {
  return new Promise((done, failed) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result);
    reader.onerror = () => failed(reader.error);
    reader.readAsDataURL(file);
  });
}

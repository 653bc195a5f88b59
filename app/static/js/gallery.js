// Sample pictures: one strip for each prompt, in the order of steps; a click looks closer.

import { h, say } from "./dom.js";
import { fileUrl } from "./live.js";
import { t, tn } from "./words.js";

export class Gallery {
  #id;
  #strips = new Map();
  #open = null;

  constructor(id) {
    this.#id = id;
    this.empty = h("p", { class: "lp-empty" });
    this.box = h("div", { class: "strips" });
    this.slider = h("input", { type: "range", min: 0, step: 1, "aria-label": t("Step"), oninput: () => this.#slide() });
    this.at = h("output", {});
    this.sliding = h("div", { class: "sliding", hidden: true }, this.slider, this.at);
    this.note = h("small", { class: "lp-muted" });
    this.element = h("section", { class: "panel lp-card" }, h("h3", {}, t("Samples"), this.note), this.sliding, this.empty, this.box);
    this.expect(true);
  }

  /** Whether pictures may still come. */
  expect(more) {
    say(this.empty, more ? t("Pictures appear here when the training draws its sample prompts.") : t("This task has drawn no sample pictures."));
  }

  add(files) {
    for (const file of files) {
      const strip = this.#strip(file);
      if (strip.shots.some((shot) => shot.path === file.path)) continue;
      const at = strip.shots.findIndex((shot) => (shot.step ?? 0) > (file.step ?? 0));
      const shot = { ...file, element: this.#shot(file, strip) };
      if (at < 0) strip.shots.push(shot), strip.row.append(shot.element);
      else strip.row.insertBefore(shot.element, strip.shots[at].element), strip.shots.splice(at, 0, shot);
      strip.row.scrollLeft = strip.row.scrollWidth;
    }
    const total = [...this.#strips.values()].reduce((sum, strip) => sum + strip.shots.length, 0);
    say(this.note, total ? tn(total, "{n} picture", "{n} pictures") : "");
    this.#offerSteps();
    this.empty.hidden = total > 0;
    this.empty.style.display = total ? "none" : "";
  }

  /** Every step of which there are pictures, in order. */
  #steps() {
    return [...new Set([...this.#strips.values()].flatMap(({ shots }) => shots.map((shot) => shot.step ?? 0)))].sort((a, b) => a - b);
  }

  /** With the newest step shown, it goes on being the newest. */
  #offerSteps() {
    const last = this.#steps().length - 1;
    const newest = Number(this.slider.value) >= Number(this.slider.max);
    this.slider.max = last;
    if (newest) this.slider.value = last;
    this.sliding.hidden = last < 1;
    say(this.at, stepName({ step: this.#steps()[Number(this.slider.value)] ?? null }));
  }

  /** Bring the pictures of one step into sight, of every prompt. */
  #slide() {
    const step = this.#steps()[Number(this.slider.value)];
    say(this.at, stepName({ step }));
    for (const { row, shots } of this.#strips.values()) {
      const shown = shots.findLast((shot) => (shot.step ?? 0) <= step) ?? shots[0];
      for (const { element } of shots) element.classList.toggle("chosen", element === shown.element);
      row.scrollLeft = shown.element.offsetLeft - row.offsetLeft - (row.clientWidth - shown.element.clientWidth) / 2;
    }
  }

  /** Two prompts may be alike word for word: within one step they are told apart by their order. */
  #strip(file) {
    const label = file.label || t("Samples");
    for (let nth = 0; ; nth++) {
      const key = `${nth}\n${label}`;
      const strip = this.#strips.get(key) ?? this.#newStrip(key, label);
      if (!strip.shots.some((shot) => shot.step === file.step && shot.path !== file.path)) return strip;
    }
  }

  #newStrip(key, label) {
    const row = h("div", { tabindex: "0", role: "group", "aria-label": label });
    const strip = { label, row, shots: [] };
    this.box.append(h("div", { class: "strip" }, h("p", { title: label }, label), row));
    this.#strips.set(key, strip);
    return strip;
  }

  #shot(file, strip) {
    const name = stepName(file);
    return h(
      "button",
      { class: "shot", type: "button", onclick: () => this.#look(strip, file.path) },
      h("img", { src: fileUrl(this.#id, file.path), alt: `${strip.label}, ${name}`, loading: "lazy", decoding: "async", width: 84, height: 84 }),
      name,
    );
  }

  #look(strip, path) {
    const strips = [...this.#strips.values()];
    const image = h("img", { alt: "" });
    const text = h("p", {});
    const slider = h("input", { type: "range", min: 0, step: 1, "aria-label": t("Step"), oninput: () => ((column = Number(slider.value)), show()) });
    const save = h("a", { class: "lp-button" }, t("Download"));
    let row = strips.indexOf(strip);
    let column = strip.shots.findIndex((shot) => shot.path === path);
    const show = () => {
      row = (row + strips.length) % strips.length;
      const { shots, label } = strips[row];
      column = Math.min(Math.max(column, 0), shots.length - 1);
      image.src = fileUrl(this.#id, shots[column].path);
      image.alt = label;
      slider.max = shots.length - 1;
      slider.value = column;
      slider.hidden = shots.length < 2;
      say(text, `${stepName(shots[column])} · ${label}`);
      save.href = `${image.src}?download`;
    };
    const move = (x, y) => ((column += x), (row += y), show());
    const button = (name, sign, x, y) => h("button", { class: "lp-button", type: "button", "aria-label": name, onclick: () => move(x, y) }, sign);
    const dialog = h(
      "dialog",
      { class: "lp-dialog lp-ui lightbox", onclose: () => dialog.remove(), onclick: (event) => event.target === dialog && dialog.close() },
      image,
      h(
        "footer",
        {},
        text,
        slider,
        button(t("Step before"), "←", -1, 0),
        button(t("Next step"), "→", 1, 0),
        strips.length > 1 && [button(t("Prompt above"), "↑", 0, -1), button(t("Prompt below"), "↓", 0, 1)],
        save,
        h("button", { class: "lp-button", type: "button", onclick: () => dialog.close() }, t("Close")),
      ),
    );
    const keys = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    dialog.addEventListener("keydown", (event) => {
      if (keys[event.key]) event.preventDefault(), move(...keys[event.key]);
    });
    document.body.append(dialog);
    show();
    dialog.showModal();
  }
}

function stepName(file) {
  if (file.step !== null && file.step !== undefined) return file.step === 0 ? t("before") : t("step {n}", { n: file.step });
  return file.epoch ? t("epoch {n}", { n: file.epoch }) : t("sample");
}

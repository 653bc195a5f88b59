// The settings of a service's scaling: how few and how many instances, by which rule, and where its dial stands.

import { h, say, toast } from "./dom.js";
import { post } from "./live.js";
import { t } from "./words.js";

const RULES = { work: t("by the work that waits"), length: t("by the length of the queue (EAS)"), other: t("as the description says") };
const ABOUT = {
  work: t("An instance starts when a task would wait longer than that is worth, and stays while tasks come often enough to pay for it."),
  length: t("So many tasks for each instance; more instances when there are more, after the delays of the description."),
  other: t("The description has strategies that this page does not show. They stay as they are."),
};

export class Scaling {
  #name = null;
  #touched = false;

  /** `changed(settings)` is called once other settings hold. */
  constructor(changed) {
    this.changed = changed;
    const number = (id, about) => h("input", { id, type: "number", inputmode: "numeric", required: true, ...about });
    this.min = number("s-min", { min: 0, max: 1000, step: 1 });
    this.max = number("s-max", { min: 0, max: 1000, step: 1 });
    this.rule = h("select", { id: "s-rule" });
    this.comfort = h("input", { id: "s-comfort", type: "range", min: 0, max: 1, step: 0.05 });
    this.threshold = number("s-threshold", { min: 0.01, step: "any" });
    this.about = h("p", { class: "lp-muted hint", id: "s-about" });
    this.problem = h("p", { class: "problem", role: "alert" });
    this.button = h("button", { class: "lp-button primary", disabled: true }, t("Apply"));
    const row = (label, input) => h("div", { class: "field" }, h("label", { for: input.id }, label), input);
    this.dial = h(
      "div",
      { class: "field wide" },
      h("label", { for: "s-comfort" }, t("Economy or comfort")),
      this.comfort,
      h("div", { class: "ends lp-muted" }, h("span", {}, t("work may wait")), h("span", {}, t("instances may idle"))),
    );
    this.length = row(t("Tasks for each instance"), this.threshold);
    this.fields = h(
      "fieldset",
      {},
      h("div", { class: "row" }, row(t("At least"), this.min), row(t("At most"), this.max)),
      row(t("Number of instances"), this.rule),
      this.about,
      this.dial,
      this.length,
    );
    this.acts = h("div", { class: "acts" }, this.button);
    this.form = h(
      "form",
      { class: "scaling", novalidate: true, oninput: () => this.#touch(), onsubmit: (event) => (event.preventDefault(), this.#apply()) },
      this.fields,
      this.problem,
      this.acts,
    );
    this.element = h("section", { class: "panel lp-card", "aria-label": t("Scaling") }, h("h2", {}, t("Scaling")), this.form);
  }

  /** The settings of another service are to come. */
  of(name) {
    this.#name = name;
    this.#touched = false;
  }

  /** What holds now; what somebody is changing stays. Who may not change it sees it. */
  show(settings, mayChange = true) {
    if (this.#touched) return;
    this.fields.disabled = !mayChange;
    this.acts.hidden = !mayChange;
    const rules = Object.entries(RULES).filter(([key]) => key !== "other" || settings.rule === "other");
    this.rule.replaceChildren(...rules.map(([value, title]) => h("option", { value }, title)));
    for (const key of ["min", "max", "rule", "comfort", "threshold"]) this[key].value = settings[key];
    this.#parts();
  }

  #touch() {
    this.#touched = true;
    this.button.disabled = false;
    say(this.problem, "");
    this.#parts();
  }

  #parts() {
    const rule = this.rule.value;
    this.dial.hidden = rule !== "work";
    this.length.hidden = rule !== "length";
    say(this.about, ABOUT[rule] ?? "");
  }

  async #apply() {
    const shown = [this.min, this.max, ...(this.length.hidden ? [] : [this.threshold])];
    const bad = shown.find((input) => !input.validity.valid);
    if (bad) return this.#wrong([bad.labels[0].textContent, bad.validationMessage].join(t(": ")), bad);
    if (Number(this.min.value) > Number(this.max.value)) return this.#wrong(t("“At least” is more than “At most”."), this.min);
    const rule = this.rule.value;
    const wanted = { min: Number(this.min.value), max: Number(this.max.value), rule: rule === "other" ? null : rule };
    if (rule === "work") wanted.comfort = Number(this.comfort.value);
    if (rule === "length") wanted.threshold = Number(this.threshold.value);
    this.button.disabled = true;
    try {
      const { settings } = await post(`live/services/${encodeURIComponent(this.#name)}/autoscaler`, wanted);
      this.#touched = false;
      this.show(settings);
      toast(t("The settings hold from now on."));
      this.changed(settings);
    } catch (error) {
      this.#wrong(error.message, this.button);
      this.button.disabled = false;
    }
  }

  #wrong(words, field) {
    say(this.problem, words);
    field.focus();
  }
}

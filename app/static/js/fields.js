// The fields of the form: their order, defaults and conditions, and what is said at them.

import { h } from "./dom.js";
import { said, t } from "./words.js";

const slug = (group) => `g-${group.toLowerCase().replaceAll(" ", "-")}`;

/** A value as conditions are written: true, false, 0, text. */
const plain = (value) => String(value);

export class Fields {
  #style = document.head.appendChild(document.createElement("style"));
  #problems = [];
  #visible = new Set();

  constructor(table) {
    this.table = table;
    this.byKey = new Map(table.fields.map((field) => [field.key, field]));
    const boxes = new Set(Object.values(table.family_checkboxes));
    this.shown = table.fields.filter((field) => field.shown !== null && !boxes.has(field.key));
    this.order = ["family", ...this.shown.map((field) => field.key)];
    this.secret = new Set(table.fields.filter((field) => field.secret).map((field) => field.key));
  }

  /** A list of values as Gradio has it -> key: value. */
  named(list) {
    return Object.fromEntries(this.order.map((key, i) => [key, list[i]]));
  }

  /** What differs from the defaults, with Kohya's model checkboxes in place of the family. */
  changed({ family, ...values }) {
    const result = {};
    for (const [key, value] of Object.entries(values)) {
      const { default: usual } = this.byKey.get(key);
      if (value !== null && value !== undefined && value !== usual) result[key] = value;
    }
    const box = this.table.family_checkboxes[family];
    if (box) result[box] = true;
    return result;
  }

  /** Such an object -> the list that Gradio takes. */
  list(changed) {
    const boxes = Object.entries(this.table.family_checkboxes);
    const family = boxes.find(([, box]) => changed[box])?.[0] ?? "sd";
    return this.order.map((key) => (key === "family" ? family : (changed[key] ?? this.byKey.get(key).default)));
  }

  /** The list as Gradio takes it: the pickers with what there is to pick. */
  forGradio(list, { models = [], datasets = [], loras = [] }) {
    const offered = {
      pretrained_model_name_or_path: models,
      train_data_dir: datasets,
      reg_data_dir: datasets,
      network_weights: loras,
    };
    return list.map((value, i) => {
      const names = offered[this.order[i]];
      return names ? { __type__: "update", value, choices: names.map((name) => [name, name]) } : value;
    });
  }

  withoutSecrets(changed) {
    return Object.fromEntries(Object.entries(changed).filter(([key]) => !this.secret.has(key)));
  }

  /** Hides what does not matter for these values and marks what differs from the default. */
  show(values) {
    const hidden = [];
    const visible = new Set();
    const marked = [];
    for (const field of this.shown) {
      if (field.shown.every((condition) => holds(condition, values))) visible.add(field.group);
      else hidden.push(`#f-${field.key}`);
      const value = values[field.key];
      if (value !== null && value !== undefined && value !== field.default && !field.basic) marked.push(field);
    }
    const groups = [...new Set(this.table.fields.map((field) => field.group))];
    hidden.push(...groups.filter((group) => !visible.has(group)).map((group) => `#${slug(group)}`));
    const dots = marked.map((field) => `#f-${field.key} [data-testid="block-info"]::before, #f-${field.key} .label-text::before`);
    this.#style.textContent =
      `${hidden.join(",")} { display: none !important; }` +
      (dots.length ? `${dots.join(",")} { content: "● "; color: var(--lp-accent); font-size: 0.7em; }` : "");
    this.#countIn(marked);
    this.#visible = new Set(this.shown.filter((field) => !hidden.includes(`#f-${field.key}`)));
  }

  /** Keys, each once, as the form has them from top to bottom: the short form first. */
  inOrder(keys) {
    const basic = (key) => this.byKey.get(key)?.basic ?? key === "family";
    return [...new Set(keys)].sort((a, b) => basic(b) - basic(a) || this.order.indexOf(a) - this.order.indexOf(b));
  }

  /** Whether it matters for the values of the last `show`. */
  visible(field) {
    return this.#visible.has(field);
  }

  /** At each group: how many of its fields are not at their default. */
  #countIn(marked) {
    for (const group of document.querySelectorAll(".lp-group")) {
      const number = marked.filter((field) => slug(field.group) === group.id).length;
      const title = group.querySelector(".label-wrap span");
      if (number) title.dataset.changed = t("{n} changed", { n: number });
      else delete title.dataset.changed;
    }
  }

  /** Says each problem at its field, now and whenever Gradio draws the field anew. */
  say(problems) {
    this.#problems = problems;
    this.#sayAll();
  }

  watch() {
    new MutationObserver(() => (this.#sayAll(), this.#helpAll())).observe(document.body, { childList: true, subtree: true });
  }

  #sayAll() {
    const wanted = new Map(this.#problems.map((problem) => [problem.field, problem]));
    for (const old of document.querySelectorAll(".lp-problem")) {
      const problem = wanted.get(old.dataset.field);
      if (problem && old.textContent === said(problem.message) && old.dataset.severity === problem.severity) wanted.delete(old.dataset.field);
      else this.#unsay(old);
    }
    for (const [key, { message, severity }] of wanted) {
      const field = element(key);
      if (!field) continue;
      field.classList.add("lp-has-problem");
      field.append(h("p", { class: "lp-problem", id: `p-${key}`, "data-field": key, "data-severity": severity }, said(message)));
      const input = field.querySelector("input, textarea");
      input?.setAttribute("aria-describedby", `p-${key}`);
      if (severity === "error") input?.setAttribute("aria-invalid", "true");
    }
  }

  #unsay(old) {
    const field = old.parentElement;
    field.classList.remove("lp-has-problem");
    const input = field.querySelector("input, textarea");
    input?.removeAttribute("aria-describedby");
    input?.removeAttribute("aria-invalid");
    old.remove();
  }

  /** The help of a field opens at a question mark, so that the form stays calm. */
  #helpAll() {
    for (const help of document.querySelectorAll("#lp-form .info-text:not([data-help])")) {
      help.dataset.help = "";
      const field = help.closest(".block");
      const title = field.querySelector('[data-testid="block-info"], .checkbox-container');
      const button = h("button", { class: "lp-help", type: "button", "aria-label": t("What is this?"), "aria-expanded": "false" }, "?");
      button.addEventListener("click", (event) => {
        event.preventDefault();
        event.stopPropagation();
        button.setAttribute("aria-expanded", field.classList.toggle("lp-help-open"));
      });
      title.after(button);
    }
  }

  title(key) {
    return key === "family" ? t("Kind of model") : (this.byKey.get(key)?.label ?? key);
  }

  /** Brings a field into sight, out of its closed group if need be. */
  go(key) {
    const group = this.byKey.get(key) && document.getElementById(slug(this.byKey.get(key).group));
    const content = group?.querySelector('[data-testid="accordion-content"]');
    if (content && !element(key)?.offsetParent && !content.offsetParent) group.querySelector(".label-wrap").click();
    const arrive = (patience) => {
      const field = element(key);
      if (!field?.offsetParent) return patience > 0 && requestAnimationFrame(() => arrive(patience - 1));
      field.scrollIntoView({ block: "center", behavior: "smooth" });
      field.querySelector("input, textarea")?.focus({ preventScroll: true });
    };
    arrive(60);
  }
}

const element = (key) => document.getElementById(`f-${key}`);

function holds([key, wanted], values) {
  const actual = values[key] ?? "";
  return wanted.length ? wanted.includes(plain(actual)) : !["", 0, false].includes(actual);
}

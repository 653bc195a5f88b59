// A sweep: a grid over chosen fields becomes several trainings, checked together before the first one is queued.

import { h, say, toast } from "./dom.js";
import { count } from "./format.js";
import { said, t, tn, together } from "./words.js";

const MOST = 64;
const USUAL = ["network_dim", "unet_lr", "learning_rate", "optimizer", "seed", "max_train_steps"];

/** Ask which fields and values; `train` asks a route, `values` are the form's. Calls `queued(tasks)`. */
export function sweep({ train, fields, values, service, queued }) {
  const rows = h("div", { class: "sweep-rows" });
  const note = h("p", { role: "status" });
  const start = h("button", { class: "lp-button primary", type: "button", onclick: () => run() }, t("Queue them"));
  const choices = fields.shown.filter((field) => fields.visible(field) && !field.secret);
  const usual = choices.filter(({ key }) => USUAL.includes(key));

  const add = (key) => {
    const select = h(
      "select",
      { "aria-label": t("Setting"), onchange: tell },
      h("optgroup", { label: t("Often varied") }, usual.map((field) => h("option", { value: field.key }, field.label))),
      h("optgroup", { label: t("All") }, choices.map((field) => h("option", { value: field.key }, `${field.label} (${field.group_title})`))),
    );
    const input = h("input", { "aria-label": t("Values"), placeholder: t("values, separated by commas"), autocomplete: "off", oninput: tell });
    if (key) select.value = key;
    rows.append(h("div", { class: "sweep-row" }, select, input, h("button", { class: "lp-button quiet", type: "button", "aria-label": t("Remove"), onclick: (event) => (event.target.closest(".sweep-row").remove(), tell()) }, "×")));
    tell();
  };

  const axes = () =>
    [...rows.children]
      .map((row) => {
        const field = fields.byKey.get(row.querySelector("select").value);
        const texts = row.querySelector("input").value.split(",").map((text) => text.trim()).filter(Boolean);
        return { field, values: texts.map((text) => valueOf(field, text)) };
      })
      .filter((axis) => axis.values.length);

  function tell() {
    const number = axes().reduce((product, axis) => product * axis.values.length, 1);
    start.disabled = !axes().length || number > MOST;
    say(note, number > MOST ? t("{n} trainings are too many at once; {most} is the most.", { n: count(number), most: MOST }) : axes().length ? tn(number, "{n} training, each with its own name.", "{n} trainings, each with its own name.") : "");
  }

  async function run() {
    const wanted = combinations(axes(), values());
    start.disabled = true;
    try {
      for (const each of wanted) {
        const { problems } = await train("check", { values: each });
        const wrong = problems.find((problem) => problem.severity === "error");
        if (wrong) throw new Error([each.output_name, fields.title(wrong.field), together(`${said(wrong.message)}${t(".")}`, t("Nothing was queued."))].join(t(": ")));
      }
      const tasks = [];
      for (const each of wanted) {
        const id = crypto.randomUUID?.() ?? `${Date.now()}-${Math.random().toString(36).slice(2)}`;
        const { task } = await train("submit", { values: each, service, id });
        if (task) tasks.push(task);
      }
      dialog.close();
      toast(tn(tasks.length, "{n} training is queued.", "{n} trainings are queued."));
      queued(tasks);
    } catch (error) {
      say(note, error.message);
      start.disabled = false;
    }
  }

  const dialog = h(
    "dialog",
    { class: "lp-dialog lp-ui sweep", "aria-label": t("Several trainings at once"), onclose: () => dialog.remove() },
    h("header", {}, h("h2", {}, t("Several trainings at once")), h("button", { class: "lp-button", type: "button", onclick: () => dialog.close() }, t("Close"))),
    h("p", { class: "lp-muted" }, t("Every combination of these values becomes a training of its own; everything else is as in the form.")),
    rows,
    h("p", {}, h("button", { class: "lp-button quiet", type: "button", onclick: () => add() }, t("+ One more setting"))),
    note,
    h("menu", {}, start),
  );
  document.body.append(dialog);
  add(usual[0]?.key);
  dialog.showModal();
}

function valueOf(field, text) {
  if (typeof field.default === "number") return Number.isFinite(Number(text)) ? Number(text) : text;
  if (typeof field.default === "boolean") return ["true", "yes", "on", "1"].includes(text.toLowerCase());
  return text;
}

/** Every combination, with a name that says what is different. */
function combinations(axes, base) {
  let all = [{ ...base }];
  for (const { field, values } of axes) {
    all = all.flatMap((each) => values.map((value) => ({ ...each, [field.key]: value, output_name: `${each.output_name || "lora"}-${field.key}-${String(value).replaceAll(/[^\w.+-]+/g, "_")}` })));
  }
  return all;
}

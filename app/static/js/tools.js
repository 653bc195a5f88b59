// Above the form: where its values come from and go to.

import { h, toast } from "./dom.js";
import { appears } from "./outlook.js";
import { said, t } from "./words.js";

/** What a preset says nothing of and a person has chosen: the pictures, the names, a model of the same kind. */
const OWN = ["train_data_dir", "reg_data_dir", "output_name", "output_dir", "sample_prompts", "training_comment"];

const MOST_WARNINGS = 5;

export function tools({ train, put, values, presets, families, find }) {
  const preset = h(
    "select",
    { "aria-label": t("Start from a preset…") },
    h("option", { value: "" }, t("Start from a preset…")),
    presets.map(({ name, title }) => h("option", { value: name }, title)),
  );
  const about = h("p", { class: "lp-muted about" });
  const chooser = h("input", { type: "file", accept: ".json,.toml,application/json", hidden: true });
  const button = (name, act) => h("button", { class: "lp-button quiet", type: "button", onclick: act }, name);

  const say = (lines) => {
    about.replaceChildren(...lines.filter(Boolean).map((line) => h("span", {}, line)));
    about.hidden = !about.textContent;
  };
  const describe = (name) => {
    preset.value = name;
    say([presets.find((each) => each.name === name)?.about]);
  };

  const kept = (mine, wanted) => {
    const same = families.every((box) => Boolean(mine[box]) === Boolean(wanted[box]));
    const keys = same ? [...OWN, "pretrained_model_name_or_path"] : OWN;
    return Object.fromEntries(keys.filter((key) => key in mine).map((key) => [key, mine[key]]));
  };

  const guarded = (act) => async () => {
    try {
      await act();
    } catch (error) {
      toast(error.message, true);
    }
  };

  const load = guarded(async () => {
    if (!preset.value) return describe("");
    const { values: wanted } = await train(`presets/${encodeURIComponent(preset.value)}`);
    put({ ...kept(values(), wanted), ...wanted }, preset.value);
  });

  const read = guarded(async () => {
    const [file] = chooser.files;
    if (!file) return;
    if (file.size > 1_000_000) throw new Error(t("{file} is too large for a settings file. The form was left as it is.", { file: file.name }));
    const answer = await train("import", { text: await file.text() });
    put(answer.values);
    const more = answer.warnings.length - MOST_WARNINGS;
    say([t("Read {file}.", { file: file.name }), ...answer.warnings.slice(0, MOST_WARNINGS).map(said), more > 0 && t("And {n} more like this.", { n: more })]);
  });

  const save = guarded(async () => {
    const { name, text } = await train("export", { values: values() });
    const url = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    h("a", { href: url, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
  });

  preset.addEventListener("change", load);
  chooser.addEventListener("change", () => read().then(() => (chooser.value = "")));

  return {
    preset: describe,
    say,
    async mount() {
      (await appears("lp-tools")).append(
        h(
          "div",
          { class: "bar" },
          h("h1", {}, t("New training")),
          find,
          preset,
          h("span", { class: "acts" }, button(t("Import…"), () => chooser.click()), button(t("Export"), save), button(t("Reset"), () => put({}))),
          chooser,
        ),
        about,
      );
    },
  };
}

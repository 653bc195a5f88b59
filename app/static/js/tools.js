// Above the form: where its values come from and go to.

import { h, toast } from "./dom.js";
import { appears } from "./outlook.js";

export function tools({ train, put, values, presets }) {
  const preset = h(
    "select",
    { "aria-label": "Start from a preset" },
    h("option", { value: "" }, "Start from a preset…"),
    presets.map(({ name, title }) => h("option", { value: name }, title)),
  );
  const about = h("p", { class: "lp-muted about" });
  const chooser = h("input", { type: "file", accept: ".json,application/json", hidden: true });
  const button = (name, act) => h("button", { class: "lp-button quiet", type: "button", onclick: act }, name);

  const describe = (name) => {
    preset.value = name;
    about.textContent = presets.find((each) => each.name === name)?.about ?? "";
    about.hidden = !about.textContent;
  };

  const guarded = (act) => async () => {
    try {
      await act();
    } catch (error) {
      toast(error.message, true);
    }
  };

  const load = guarded(async () => {
    if (preset.value) put((await train(`presets/${encodeURIComponent(preset.value)}`)).values, preset.value);
    else describe("");
  });

  const read = guarded(async () => {
    const [file] = chooser.files;
    if (!file) return;
    if (file.size > 1_000_000) throw new Error(`${file.name} is too large for a settings file. The form was left as it is.`);
    const answer = await train("import", { text: await file.text() });
    put(answer.values);
    toast(`Read ${file.name}.`);
    for (const warning of answer.warnings.slice(0, 5)) toast(warning);
    if (answer.warnings.length > 5) toast(`…and ${answer.warnings.length - 5} more settings that this form does not have.`);
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
    async mount() {
      (await appears("lp-tools")).append(
        h(
          "div",
          { class: "bar" },
          h("h1", {}, "New training"),
          preset,
          h("span", { class: "acts" }, button("Import…", () => chooser.click()), button("Export", save), button("Reset", () => put({}))),
          chooser,
        ),
        about,
      );
    },
  };
}

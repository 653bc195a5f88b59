// What a newcomer sees in place of the form, as long as there is nothing that it could train.

import { h, root } from "./dom.js";
import { appears } from "./outlook.js";
import { sampleButton } from "./sample.js";
import { pieces, t } from "./words.js";

const WAYS = {
  data: () => [
    h("b", {}, t("Your pictures")),
    h("span", {}, pieces("Ten to a few hundred of one thing or one style. Drop them on the {page}, or put them into {folder} of the data folder.", { page: h("a", { href: `${root}/data` }, t("Data page")), folder: h("code", {}, "datasets/") })),
  ],
  model: () => [
    h("b", {}, t("A base model")),
    h("span", {}, pieces("A Stable Diffusion folder or {kind} file, put into {folder} of the data folder. It is offered here as soon as it is there.", { kind: h("code", {}, ".safetensors"), folder: h("code", {}, "models/") })),
  ],
};

/** Shows it for what is `missing`, takes it away for null; `installed` is called when the sample is there. */
export async function welcome(missing, installed) {
  const place = await appears("lp-tools");
  place.querySelector(".welcome")?.remove();
  document.body.classList.toggle("lp-newcomer", Boolean(missing));
  if (!missing) return;
  const both = missing.data && missing.model;
  const needed = Object.keys(WAYS).filter((key) => missing[key]);
  place.append(
    h(
      "section",
      { class: "welcome lp-card", "aria-label": t("Getting started") },
      h("h2", {}, both ? t("Welcome. Two things are needed for a LoRA.") : t("One thing is missing for a LoRA.")),
      h("ol", {}, needed.map((key) => h("li", {}, WAYS[key]()))),
      h("p", {}, h("b", {}, t("Or try it first: ")), t("a tiny model and thirty pictures come with lorapool. The training takes a minute or two, even without a GPU.")),
      h(
        "p",
        { class: "acts" },
        sampleButton(installed, "primary"),
        h("button", { class: "lp-button quiet", type: "button", onclick: () => document.body.classList.remove("lp-newcomer") }, t("Show the form anyway")),
      ),
    ),
  );
}

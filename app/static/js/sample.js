// The sample model and data set, for who has nothing yet: one press puts both into the data folder.

import { h, toast } from "./dom.js";
import { post } from "./live.js";
import { t } from "./words.js";

/** A button that installs them and then calls `done`. */
export function sampleButton(done, kind = "") {
  const button = h("button", { class: `lp-button ${kind}`, type: "button", onclick: install }, t("Install the sample"));
  async function install() {
    button.disabled = true;
    try {
      const { model, dataset } = await post("sets/sample");
      toast(t("The model {model} and the data set {dataset} are in the data folder.", { model, dataset }));
      await done();
    } catch (error) {
      toast(error.message, true);
    }
    button.disabled = false;
  }
  return button;
}

// Search over all fields of the form: by label, key or help; choosing one brings it into sight.

import { h } from "./dom.js";
import { t } from "./words.js";

const MOST = 8;

/** An element to type into. `fields` knows the table and how to go to a field. */
export function finder(fields) {
  const input = h("input", { type: "search", placeholder: t("Find a setting"), "aria-label": t("Find a setting"), role: "combobox", "aria-expanded": "false", "aria-controls": "lp-found", autocomplete: "off" });
  const found = h("ul", { id: "lp-found", class: "found lp-card", role: "listbox", "aria-label": t("Settings"), hidden: true });
  let matches = [];
  let at = 0;

  const close = () => {
    found.hidden = true;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  };
  const go = (field) => {
    close();
    input.value = "";
    fields.go(field.key);
  };
  const draw = () => {
    found.replaceChildren(
      ...matches.map((field, i) =>
        h(
          "li",
          { id: `lp-found-${i}`, role: "option", "aria-selected": String(i === at), onmousedown: (event) => (event.preventDefault(), go(field)) },
          h("b", {}, field.label),
          h("small", {}, `${field.group_title} · ${field.key}${fields.visible(field) ? "" : ` · ${t("not for these settings")}`}`),
        ),
      ),
      ...(matches.length ? [] : [h("li", { class: "none", role: "option", "aria-disabled": "true", "aria-selected": "false" }, t("No setting is called that."))]),
    );
    found.hidden = false;
    input.setAttribute("aria-expanded", "true");
    if (matches.length) input.setAttribute("aria-activedescendant", `lp-found-${at}`);
  };
  const search = () => {
    const text = input.value.trim().toLowerCase();
    at = 0;
    if (!text) return close();
    matches = ranked(fields.shown, text).slice(0, MOST);
    draw();
  };
  input.addEventListener("input", search);
  input.addEventListener("blur", close);
  input.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") close();
    else if (found.hidden || !matches.length) return;
    else if (step) (at = (at + step + matches.length) % matches.length), draw(), event.preventDefault();
    else if (event.key === "Enter") go(matches[at]), event.preventDefault();
  });
  return h("div", { class: "finder" }, input, found);
}

/** Labels that begin so first, then labels and keys that hold it, then help. */
function ranked(all, text) {
  const rank = (field) => {
    const label = field.label.toLowerCase();
    if (label.startsWith(text)) return 0;
    if (label.includes(text) || field.key.toLowerCase().includes(text.replaceAll(" ", "_"))) return 1;
    return field.help.toLowerCase().includes(text) ? 2 : null;
  };
  return all
    .map((field) => [rank(field), field])
    .filter(([place]) => place !== null)
    .sort(([a], [b]) => a - b)
    .map(([, field]) => field);
}

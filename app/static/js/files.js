// What a task made, besides pictures: the LoRA, checkpoints, states.

import { copy, h, root } from "./dom.js";
import { clock, size } from "./format.js";
import { fileUrl } from "./live.js";
import { t } from "./words.js";

const KINDS = { lora: "LoRA", checkpoint: t("Checkpoint"), state: t("State"), other: t("File") };
const ORDER = Object.keys(KINDS);

export function files(id) {
  const known = new Map();
  const body = h("tbody", {});
  const place = h("p", { class: "place", hidden: true });
  const element = h(
    "section",
    { class: "panel lp-card made", hidden: true },
    h("h3", {}, t("Files")),
    place,
    h(
      "div",
      { class: "scroll-x" },
      h(
        "table",
        { class: "files" },
        h("thead", {}, h("tr", {}, h("th", {}, t("Name")), h("th", { class: "wide" }, t("Kind")), h("th", { class: "end wide" }, t("Step")), h("th", { class: "end wide" }, t("Written")), h("th", { class: "end" }, t("Size")), h("th", {}, ""))),
        body,
      ),
    ),
  );
  const add = (more) => {
    for (const file of more) known.set(file.path, file);
    const all = [...known.values()].sort(
      (a, b) => ORDER.indexOf(a.kind) - ORDER.indexOf(b.kind) || (b.step ?? 0) - (a.step ?? 0) || a.path.localeCompare(b.path),
    );
    body.replaceChildren(...all.map((file) => line(id, file)));
    element.hidden = !all.length;
  };
  /** Says where the LoRA is on the machine that trained it; nothing for "". */
  const where = (path) => {
    if (place.dataset.path === (path ?? "")) return;
    place.dataset.path = path ?? "";
    place.hidden = !path;
    place.replaceChildren(t("The LoRA is on the machine as"), " ", h("code", {}, path), " ", h("button", { class: "lp-button quiet", type: "button", onclick: () => copy(path) }, t("Copy path")));
  };
  return { element, add, where };
}

function line(id, file) {
  const name = file.path.split("/").at(-1);
  // A state is a folder: there is nothing to download in one piece.
  const shown = file.kind === "state" ? name : h("a", { href: `${fileUrl(id, file.path)}?download`, download: name }, name);
  const loads = ["lora", "checkpoint"].includes(file.kind) && name.endsWith(".safetensors");
  const wanted = new URLSearchParams({ lora: id, ...(file.kind === "checkpoint" && { checkpoint: `jobs/${id}/${file.path}` }) });
  return h(
    "tr",
    { "data-kind": file.kind },
    h("td", {}, shown),
    h("td", { class: "wide" }, KINDS[file.kind] ?? file.kind),
    h("td", { class: "end wide" }, file.step ?? ""),
    h("td", { class: "end wide" }, clock(file.modified)),
    h("td", { class: "end" }, size(file.size)),
    h("td", { class: "end" }, loads && h("a", { href: `${root}/generate?${wanted}` }, t("Try it"))),
  );
}

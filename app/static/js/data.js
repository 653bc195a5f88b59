// The Data page: the data sets, and the one that the address names, with its pictures and captions.

import { ask as question, h, root, toast } from "./dom.js";
import { count } from "./format.js";
import { Grid } from "./grid.js";
import { ask, post } from "./live.js";
import { sampleButton } from "./sample.js";
import { dropped, upload } from "./upload.js";
import { t, tn } from "./words.js";

const page = document.getElementById("lp-page");
const rows = h("div", { class: "rows" }, h("p", { class: "lp-empty" }, t("Loading…")));
const list = h(
  "section",
  { class: "list lp-card", "aria-label": t("Data sets") },
  h("header", {}, h("h1", {}, t("Data sets")), h("button", { class: "lp-button", type: "button", onclick: () => create() }, t("New data set"))),
  rows,
);
const pane = h("section", { class: "task", "aria-label": t("Data set") });
page.append(list, pane);

const wide = matchMedia("(min-width: 861px)");
const named = () => new URLSearchParams(location.search);
let sets = [];
let models = 0;
let mayMake = true;
let shown = "";
let grid = null;
let asked = 0;

const guarded = async (act) => {
  try {
    return await act();
  } catch (error) {
    toast(error.message, true);
    return undefined;
  }
};

const pictures = (n) => tn(n, "{n} picture", "{n} pictures");

async function load() {
  const mine = ++asked;
  const answer = await guarded(() => ask("sets"));
  // An answer that was overtaken by a later one would show what is no more.
  if (!answer || mine !== asked) return;
  ({ sets, models } = answer);
  list.querySelector("header button").hidden = !answer.may_make;
  mayMake = answer.may_make;
  drawList();
  choose();
}

function drawList() {
  rows.replaceChildren(
    ...(sets.length
      ? sets.map((set) =>
          h(
            "a",
            { class: "set", href: address(set.path), "data-set": set.path },
            h("b", { title: set.name }, set.name),
            h("span", {}, `${pictures(set.pictures)}${set.train_data_dir ? "" : ` · ${t("not ready to train")}`}`),
          ),
        )
      : [h("p", { class: "lp-empty" }, t("No data set yet."))]),
  );
}

const address = (set, folder) => `${root}/data?${new URLSearchParams({ set, ...(folder && { folder }) })}`;

function choose() {
  const wanted = named().get("set");
  page.dataset.view = wanted ? "task" : "list";
  const set = sets.find((each) => each.path === wanted) ?? (wide.matches || !sets.length ? sets[0] : undefined);
  for (const row of rows.children) {
    if (row.dataset.set === set?.path) row.setAttribute("aria-current", "true");
    else row.removeAttribute("aria-current");
  }
  if (!set) {
    shown = "";
    grid = null;
    if (!sets.length) page.dataset.view = "both";
    return pane.replaceChildren(...(sets.length ? [] : [empty()]));
  }
  const folder = set.folders.find((each) => each.path === named().get("folder")) ?? set.folders[0];
  const sign = JSON.stringify([set, folder]);
  if (sign === shown) return void grid?.refresh();
  const same = grid?.folder === folder?.path;
  shown = sign;
  drawSet(set, folder, same);
}

function empty() {
  return h(
    "div",
    { class: "lp-card lp-empty newcomer" },
    h("b", {}, t("No pictures here yet")),
    h("p", {}, t("A LoRA learns from ten to a few hundred pictures of one thing or one style. Drop them anywhere on this page, or a zip archive of them.")),
    h(
      "p",
      { class: "acts" },
      mayMake && h("button", { class: "lp-button primary", type: "button", onclick: () => create() }, t("New data set")),
      mayMake && !models && sampleButton(load),
    ),
  );
}

function drawSet(set, folder, same) {
  document.title = `${set.name} · lorapool`;
  const chooser = h("input", { type: "file", multiple: true, hidden: true, accept: "image/*,.txt,.caption,.cap,.zip" });
  chooser.addEventListener("change", () => add([...chooser.files], folder.path).then(() => (chooser.value = "")));
  if (!same) grid = folder ? new Grid(folder.path, set.train_data_dir, load) : null;
  else grid.refresh();
  pane.replaceChildren(
    h(
      "header",
      { class: "head" },
      h("button", { class: "lp-button quiet back", type: "button", onclick: () => go(null) }, t("‹ All data sets")),
      h("h2", {}, set.name),
      h(
        "div",
        { class: "acts" },
        folder && set.may_change && h("button", { class: "lp-button", type: "button", onclick: () => chooser.click() }, t("Add pictures…")),
        set.may_change && h("button", { class: "lp-button danger", type: "button", onclick: () => remove(set.path, t("the data set {name} with its {pictures}", { name: set.name, pictures: pictures(set.pictures) })) }, t("Delete…")),
        mayMake && set.train_data_dir && h("a", { class: "lp-button primary", href: `${root}/?data=${encodeURIComponent(set.train_data_dir)}` }, t("Train with it")),
      ),
      chooser,
    ),
    set.folders.length > 1 ? folders(set, folder) : "",
    folder ? about(set, folder) : h("p", { class: "lp-card lp-empty" }, t("This data set is empty.")),
    ...(grid ? [grid.element] : []),
  );
}

function folders(set, current) {
  return h(
    "nav",
    { class: "folders", "aria-label": t("Folders") },
    set.folders.map((folder) =>
      h(
        "a",
        { class: "lp-button", href: address(set.path, folder.path), "data-folder": folder.path, "aria-current": folder === current ? "true" : null },
        folder.repeats === null && folder.path === set.path ? t("loose pictures") : folder.name,
        h("small", {}, count(folder.pictures)),
      ),
    ),
  );
}

function about(set, folder) {
  const trained = folder.repeats !== null;
  return h(
    "p",
    { class: trained ? "folder-line" : "folder-line reason failed" },
    trained
      ? [
          h("b", {}, folder.name),
          h("span", {}, tn(folder.repeats, "{pictures}, each shown once an epoch", "{pictures}, each shown {n} times an epoch", { pictures: pictures(folder.pictures) })),
        ]
      : tn(folder.pictures, "This picture is in no training folder yet, so no training sees it. Give it a trigger word.", "These {n} pictures are in no training folder yet, so no training sees them. Give them a trigger word."),
    set.may_change && h("button", { class: trained ? "lp-button quiet" : "lp-button primary", type: "button", onclick: () => rename(set, folder) }, trained ? t("Rename or repeat…") : t("Make a training folder…")),
    trained && set.may_change && set.folders.length > 1 && h("button", { class: "lp-button quiet danger", type: "button", onclick: () => remove(folder.path, t("the folder {name} with its {pictures}", { name: folder.name, pictures: pictures(folder.pictures) })) }, t("Delete folder…")),
  );
}

function go(url) {
  history.pushState(null, "", url ?? `${root}/data`);
  choose();
}

async function add(files, folder) {
  if (await upload(files, folder)) await load();
}

async function remove(folder, what) {
  if (!(await question(t("Delete {what}?", { what }), t("Delete"), t("This cannot be taken back. Trainings that are queued with it would fail."), t("Keep it")))) return;
  await guarded(async () => {
    await post("sets/remove", { folder });
    toast(t("Deleted."));
    if (!sets.some((set) => set.path !== folder && folder.startsWith(`${set.path}/`))) history.replaceState(null, "", `${root}/data`);
    await load();
  });
}

async function rename(set, folder) {
  const fixed = folder.repeats ?? 10;
  const asked = await form(t("Training folder"), { words: folder.repeats === null ? "" : folder.words, repeats: fixed });
  if (!asked) return;
  await guarded(async () => {
    const answer = await post("sets/rename", { folder: folder.path, ...asked });
    history.replaceState(null, "", address(set.path, answer.folder));
    await load();
  });
}

async function create(files = []) {
  const asked = await form(t("New data set"), { name: "", words: "", repeats: 10 }, files.length > 0 && tn(files.length, "{n} file goes into it.", "{n} files go into it."));
  if (!asked) return;
  const made = await guarded(() => post("sets/new", asked));
  if (!made) return;
  const set = made.folder.split("/").slice(0, 2).join("/");
  history.pushState(null, "", address(set));
  if (files.length) await upload(files, made.folder);
  await load();
}

const FIELDS = {
  name: [t("Name"), "my-cat", t("Its folder in datasets/ is called so, too.")],
  words: [t("Trigger words"), "mycat cat", t("A rare word and what it is. They stand for a caption where a picture has none.")],
  repeats: [t("Repeats"), "10", t("How often an epoch shows each picture. Fewer pictures, more repeats: about 200 to 400 together.")],
};

/** Asks for the named values; null when nothing is to be done. */
function form(title, values, note) {
  return new Promise((resolve) => {
    const inputs = Object.entries(values).map(([key, value]) => {
      const [label, placeholder, help] = FIELDS[key];
      const input = h("input", {
        name: key,
        id: `d-${key}`,
        required: true,
        placeholder,
        value,
        "aria-describedby": `d-${key}-help`,
        ...(key === "repeats" ? { type: "number", min: 1, max: 10000 } : { maxlength: 100, autocomplete: "off" }),
      });
      return { key, input, row: h("div", { class: "field" }, h("label", { for: `d-${key}` }, label), input, h("small", { id: `d-${key}-help` }, help)) };
    });
    const read = () => Object.fromEntries(inputs.map(({ key, input }) => [key, key === "repeats" ? Number(input.value) : input.value.trim()]));
    const dialog = h(
      "dialog",
      { class: "lp-dialog lp-ui ask", "aria-label": title, onclose: () => (resolve(dialog.returnValue === "yes" ? read() : null), dialog.remove()) },
      h(
        "form",
        { method: "dialog" },
        h("b", {}, title),
        note && h("p", {}, note),
        inputs.map(({ row }) => row),
        h("menu", {}, h("button", { class: "lp-button", value: "no", formnovalidate: true }, t("Cancel")), h("button", { class: "lp-button primary", value: "yes" }, t("Save"))),
      ),
    );
    // Enter saves: the first button of a form is what it presses otherwise.
    dialog.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.target.tagName !== "INPUT") return;
      event.preventDefault();
      dialog.querySelector('button[value="yes"]').click();
    });
    document.body.append(dialog);
    dialog.showModal();
    inputs[0].input.focus();
  });
}

addEventListener("click", (event) => {
  const link = event.target.closest("a[data-set], a[data-folder]");
  if (!link || event.metaKey || event.ctrlKey || event.shiftKey) return;
  event.preventDefault();
  go(link.getAttribute("href"));
  scrollTo(0, 0);
});
addEventListener("popstate", choose);
wide.addEventListener("change", choose);
// What another tab or a file manager has changed meanwhile.
document.addEventListener("visibilitychange", () => !document.hidden && load());

let over = 0;
addEventListener("dragenter", (event) => [...(event.dataTransfer?.types ?? [])].includes("Files") && (over++, page.classList.add("over")));
addEventListener("dragleave", () => over && --over === 0 && page.classList.remove("over"));
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", async (event) => {
  event.preventDefault();
  over = 0;
  page.classList.remove("over");
  if (!event.dataTransfer.items.length) return;
  const files = await guarded(() => dropped(event.dataTransfer));
  if (!files?.length) return;
  if (grid) await add(files, grid.folder);
  else await create(files);
});
load();

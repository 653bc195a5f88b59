// The pictures of one folder with their captions: edited one by one or all at once, searched, checked, cropped.

import { ask as question, h, root, say, toast } from "./dom.js";
import { count, size as bytes } from "./format.js";
import { ask, post } from "./live.js";
import { said, t, tn } from "./words.js";

const MOST_TAGS = 60;

const EDITS = {
  add_first: [t("Add tags at the front"), t("tags, separated by commas")],
  add_last: [t("Add tags at the end"), t("tags, separated by commas")],
  remove_tags: [t("Remove tags"), t("tags, separated by commas")],
  find: [t("Replace text"), t("text to look for"), t("put this instead")],
  prefix: [t("Put text before every caption"), t("text")],
  suffix: [t("Put text after every caption"), t("text")],
  missing: [t("Caption pictures that have none"), t("caption")],
};
const LISTS = new Set(["add_first", "add_last", "remove_tags"]);

const words = (text) => text.split(",").map((tag) => tag.trim()).filter(Boolean);

export const pictureUrl = (picture, longest) =>
  `${root}/sets/picture?${new URLSearchParams({ path: picture.path, longest, v: picture.version })}`;

const sentence = (text) => `${text[0].toUpperCase()}${text.slice(1)}${/[.!?。！？]$/.test(text) ? "" : t(".")}`;

export class Grid {
  #cards = new Map();
  #tag = "";
  #crops = {};
  #pictures = [];
  #undo = null;
  #asked = 0;
  #checked = 0;

  /** `changed` is called when pictures have gone. */
  constructor(folder, trainDir, changed) {
    this.folder = folder;
    this.trainDir = trainDir;
    this.changed = changed;
    this.problems = h("ul", { class: "problems" });
    this.tags = h("div", { class: "tags" });
    this.note = h("span", { class: "lp-muted", role: "status" });
    this.search = h("input", { type: "search", placeholder: t("Search captions and names"), "aria-label": t("Search captions and names"), oninput: () => this.#filter() });
    this.uncaptioned = h("input", { type: "checkbox", onchange: () => this.#filter() });
    this.remove = h("button", { class: "lp-button danger", type: "button", hidden: true, onclick: () => this.#remove() }, t("Delete"));
    this.cards = h("ul", { class: "cards" });
    this.element = h(
      "div",
      {},
      h(
        "div",
        { class: "pair" },
        h("section", { class: "panel lp-card" }, h("h3", {}, t("Change all captions")), this.#bulk()),
        h("section", { class: "panel lp-card" }, h("h3", {}, t("Tags")), this.tags),
      ),
      h("section", { class: "panel lp-card", "aria-label": t("What a training would see") }, h("h3", {}, t("What a training would see")), this.#preview(), this.problems),
      h("div", { class: "tools" }, this.search, h("label", {}, this.uncaptioned, " ", t("without caption")), this.note, this.remove),
      this.cards,
    );
    this.refresh();
  }

  /** Read the folder again; a caption that somebody types stays as it is. */
  async refresh() {
    const mine = ++this.#asked;
    try {
      const { pictures, tags } = await ask(`sets/folder?path=${encodeURIComponent(this.folder)}`);
      // A later look has been answered already, or will be.
      if (mine !== this.#asked) return;
      this.#pictures = pictures;
      this.#drawCards();
      this.#drawTags(tags);
    } catch (error) {
      toast(error.message, true);
      return;
    }
    if (!this.resolution.value) this.#suggest();
    await this.#check();
  }

  #drawCards() {
    const kept = new Map();
    for (const picture of this.#pictures) {
      const card = this.#cards.get(picture.name) ?? this.#card(picture.name);
      card.update(picture);
      kept.set(picture.name, card);
    }
    this.#cards = kept;
    this.cards.replaceChildren(
      ...(kept.size ? [...kept.values()].map((card) => card.element) : [h("li", { class: "lp-card lp-empty" }, h("b", {}, t("No pictures in this folder yet")), t("Drop pictures, captions or a zip archive anywhere on this page."))]),
    );
    this.#filter();
  }

  #card(name) {
    let picture;
    const image = h("img", { alt: name, loading: "lazy", decoding: "async" });
    const cut = h("i", { class: "cut", hidden: true });
    const frame = h("span", { class: "frame" }, image, cut);
    const caption = h("textarea", { rows: 3, "aria-label": t("Caption of {name}", { name }), placeholder: t("no caption"), spellcheck: "true" });
    const facts = h("small", {});
    const box = h("input", { type: "checkbox", "aria-label": t("Choose {name}", { name }), onchange: () => this.#count() });
    const element = h(
      "li",
      { class: "card lp-card" },
      h("button", { class: "look", type: "button", "aria-label": t("Look at {name}", { name }), onclick: () => this.#look(picture) }, frame),
      caption,
      h("div", { class: "foot" }, h("label", {}, box, h("span", { title: name }, name)), facts),
    );
    const save = async () => {
      const text = caption.value.trim();
      if (text === (picture.caption ?? "")) return;
      try {
        await post("sets/captions", { captions: { [picture.path]: text } });
        picture.caption = text || null;
        element.classList.add("saved");
        setTimeout(() => element.classList.remove("saved"), 900);
        this.#recount();
      } catch (error) {
        toast(error.message, true);
      }
    };
    caption.addEventListener("change", save);
    return {
      element,
      box,
      update(next) {
        picture = next;
        if (document.activeElement !== caption) caption.value = next.caption ?? "";
        const url = pictureUrl(next, 320);
        if (next.size && image.getAttribute("src") !== url) image.src = url;
        frame.style.aspectRatio = next.size ? `${next.size[0]} / ${next.size[1]}` : "1";
        frame.style.width = next.size ? `${Math.min(100, (100 * next.size[0]) / next.size[1])}%` : "100%";
        frame.classList.toggle("broken", !next.size);
        this.facts();
      },
      facts(crop) {
        const seen = crop ? ` → ${crop.bucket.join("×")}` : "";
        say(facts, picture.size ? `${picture.size.join("×")}${seen}` : t("cannot be read"));
        facts.title = `${bytes(picture.bytes)}${crop?.enlarged ? t(", is enlarged") : ""}`;
        facts.classList.toggle("warn", Boolean(crop?.enlarged) || !picture.size);
        cut.hidden = !crop;
        if (crop) {
          const [left, top, width, height] = crop.box.map((share) => `${share * 100}%`);
          Object.assign(cut.style, { left, top, width, height });
        }
      },
      get picture() {
        return picture;
      },
    };
  }

  #filter() {
    const text = this.search.value.trim().toLowerCase();
    let seen = 0;
    for (const { element, picture } of this.#cards.values()) {
      const caption = picture.caption ?? "";
      const fits =
        (!text || `${picture.name}\n${caption}`.toLowerCase().includes(text)) &&
        (!this.#tag || words(caption).includes(this.#tag)) &&
        (!this.uncaptioned.checked || !caption);
      element.hidden = !fits;
      seen += fits;
    }
    const all = this.#cards.size;
    say(this.note, seen === all ? tn(all, "{n} picture", "{n} pictures") : t("{n} of {total}", { n: count(seen), total: count(all) }));
    this.#count();
  }

  #chosen() {
    return [...this.#cards.values()].filter(({ box, element }) => box.checked && !element.hidden);
  }

  #count() {
    const number = this.#chosen().length;
    this.remove.hidden = !number;
    say(this.remove, tn(number, "Delete {n} picture…", "Delete {n} pictures…"));
  }

  async #remove() {
    const chosen = this.#chosen();
    const sure = await question(t("Delete {what}?", { what: chosen.length === 1 ? chosen[0].picture.name : tn(chosen.length, "{n} picture", "{n} pictures") }), t("Delete"), t("The pictures and their captions go. This cannot be taken back."), t("Keep"));
    if (!sure) return;
    try {
      await post("sets/remove", { pictures: chosen.map(({ picture }) => picture.path) });
      await this.changed();
    } catch (error) {
      toast(error.message, true);
    }
  }

  #recount() {
    const counts = new Map();
    for (const { caption } of this.#pictures) {
      for (const tag of new Set(words(caption ?? ""))) counts.set(tag, (counts.get(tag) ?? 0) + 1);
    }
    this.#drawTags([...counts].sort((a, b) => b[1] - a[1] || a[0].localeCompare(b[0])));
  }

  #drawTags(tags) {
    if (!tags.some(([tag]) => tag === this.#tag)) this.#tag = "";
    const chips = tags.slice(0, MOST_TAGS).map(([tag, number]) =>
      h(
        "button",
        { class: "tag", type: "button", "aria-pressed": tag === this.#tag, onclick: () => this.#only(tag) },
        h("span", {}, tag),
        h("small", {}, count(number)),
      ),
    );
    const more = tags.length - MOST_TAGS;
    this.tags.replaceChildren(
      ...(chips.length ? chips : [h("p", { class: "lp-muted" }, t("Tags are what stands between the commas of the captions. There are none yet."))]),
      more > 0 ? h("small", { class: "lp-muted" }, t("and {n} more", { n: count(more) })) : "",
    );
  }

  #only(tag) {
    this.#tag = this.#tag === tag ? "" : tag;
    for (const chip of this.tags.querySelectorAll(".tag")) chip.setAttribute("aria-pressed", chip.firstChild.textContent === this.#tag);
    this.#filter();
  }

  #bulk() {
    const kind = h("select", { "aria-label": t("What to do") }, Object.entries(EDITS).map(([key, [title]]) => h("option", { value: key }, title)));
    const first = h("input", { "aria-label": t("Text"), autocomplete: "off" });
    const second = h("input", { "aria-label": t("Replacement"), autocomplete: "off", hidden: true });
    const undo = h("button", { class: "lp-button quiet", type: "button", hidden: true, onclick: () => this.#takeBack(undo) }, t("Undo"));
    const show = () => {
      const [, one, two] = EDITS[kind.value];
      first.placeholder = one;
      second.placeholder = two ?? "";
      second.hidden = !two;
    };
    kind.addEventListener("change", show);
    show();
    const act = async (event) => {
      event.preventDefault();
      const text = first.value;
      if (!text.trim()) return first.focus();
      const change = { [kind.value]: LISTS.has(kind.value) ? words(text) : text, ...(kind.value === "find" && { replace: second.value }) };
      const before = Object.fromEntries(this.#pictures.map(({ path, caption }) => [path, caption ?? ""]));
      try {
        const { changed } = await post("sets/edit", { folder: this.folder, ...change });
        toast(changed ? tn(changed, "{n} caption changed.", "{n} captions changed.") : t("No caption had to be changed."));
        if (changed) (this.#undo = before), (undo.hidden = false);
        await this.refresh();
      } catch (error) {
        toast(error.message, true);
      }
    };
    return h("form", { class: "bulk", onsubmit: act }, kind, first, second, h("div", { class: "acts" }, h("button", { class: "lp-button" }, t("Apply")), undo));
  }

  async #takeBack(button) {
    const now = new Map(this.#pictures.map(({ path, caption }) => [path, caption ?? ""]));
    const captions = Object.fromEntries(Object.entries(this.#undo).filter(([path, text]) => now.has(path) && now.get(path) !== text));
    try {
      await post("sets/captions", { captions });
      button.hidden = true;
      toast(t("The captions are as they were."));
      await this.refresh();
    } catch (error) {
      toast(error.message, true);
    }
  }

  #preview() {
    const again = () => this.#check();
    this.resolution = h("input", { id: "d-resolution", placeholder: "512,512", size: 9, onchange: again });
    this.bucketed = h("input", { type: "checkbox", checked: true, onchange: again });
    this.noUpscale = h("input", { type: "checkbox", checked: true, onchange: again });
    this.buckets = h("p", { class: "lp-muted buckets" });
    return h(
      "div",
      { class: "preview" },
      h("label", { for: "d-resolution" }, t("Resolution"), " ", this.resolution),
      h("label", {}, this.bucketed, " ", t("aspect-ratio buckets")),
      h("label", {}, this.noUpscale, " ", t("never enlarge")),
      this.buckets,
    );
  }

  /** The form's resolution where the form is about this set, else what suits the pictures. */
  #suggest() {
    let kept;
    try {
      kept = JSON.parse(localStorage.getItem("lorapool.form"))?.values;
    } catch {
      kept = null;
    }
    const sides = this.#pictures.filter(({ size }) => size).map(({ size }) => Math.sqrt(size[0] * size[1])).sort((a, b) => a - b);
    const middle = sides[Math.floor(sides.length / 2)] ?? 512;
    const usual = [1024, 768, 512].find((side) => side <= middle) ?? Math.max(64, Math.floor(middle / 64) * 64);
    this.resolution.value = (kept?.train_data_dir === this.trainDir && kept?.max_resolution) || `${usual},${usual}`;
  }

  async #check() {
    if (!this.trainDir || !this.#pictures.length) {
      this.problems.replaceChildren();
      say(this.buckets, this.trainDir ? "" : t("Nothing here is in a training folder yet."));
      return;
    }
    const mine = ++this.#checked;
    let answer;
    try {
      answer = await post("sets/check", {
        train_data_dir: this.trainDir,
        resolution: this.resolution.value,
        enable_bucket: this.bucketed.checked,
        bucket_no_upscale: this.noUpscale.checked,
      });
    } catch (error) {
      answer = { problems: [{ severity: "error", message: error.message }], buckets: [], crops: {} };
    }
    if (mine !== this.#checked) return;
    this.#crops = answer.crops;
    for (const card of this.#cards.values()) card.facts(this.#crops[card.picture.path]);
    const seen = answer.buckets.map(({ width, height, count: n }) => [`${width}×${height}`, count(n)].join(t(": ")));
    say(this.buckets, seen.length ? t("Showings an epoch by size: {sizes}", { sizes: seen.join(t(", ")) }) : "");
    const problems = [...this.#own(), ...answer.problems];
    this.problems.replaceChildren(
      ...(problems.length
        ? problems.map(({ severity, message }) => h("li", { class: severity }, sentence(said(message))))
        : [h("li", { class: "good" }, t("No problems found."))]),
    );
  }

  #own() {
    const enlarged = Object.values(this.#crops).filter((crop) => crop.enlarged).length;
    return enlarged ? [{ severity: "warning", message: tn(enlarged, "{n} picture is smaller than the resolution and would be enlarged", "{n} pictures are smaller than the resolution and would be enlarged") }] : [];
  }

  #look(picture) {
    const dialog = h(
      "dialog",
      { class: "lp-dialog lp-ui lightbox", "aria-label": picture.name, onclose: () => dialog.remove(), onclick: (event) => event.target === dialog && dialog.close() },
      h("img", { src: pictureUrl(picture, 1600), alt: picture.caption ?? picture.name }),
      h("footer", {}, h("p", {}, h("b", {}, picture.name), ` ${picture.caption ?? ""}`), h("button", { class: "lp-button", type: "button", onclick: () => dialog.close() }, t("Close"))),
    );
    document.body.append(dialog);
    dialog.showModal();
  }
}

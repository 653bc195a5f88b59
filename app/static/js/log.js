// A log of any length: the rows in sight are elements, all others are text that is fetched when it comes into sight.

import { h, root, say } from "./dom.js";
import { count } from "./format.js";
import { ask } from "./live.js";
import { t, tn } from "./words.js";

const ROW = 18;
const BEYOND = 12;
const CHUNK = 1000;
const LONGEST = 2000;
const BAD = /\b(error|traceback|exception|fatal|nan)\b/i;
const WARN = /\bwarn(ing)?\b/i;
const ESCAPES = /\x1b\[[0-9;?]*[ -/]*[@-~]/g;

export const TAIL = 400;

export class Log {
  #id;
  #lines = [];
  #asked = new Set();
  #rows = new Map();
  #widest = 0;
  #stick = true;
  #unseen = 0;
  #planned = false;
  #find = { text: "", hits: [], at: -1, upTo: 0 };

  constructor(id) {
    this.#id = id;
    this.#build();
  }

  #build() {
    this.canvas = h("div", { class: "canvas" });
    this.view = h("div", { class: "view", tabindex: "0", role: "log", "aria-live": "off", "aria-label": t("Log") }, this.canvas);
    this.empty = h("p", { class: "lp-empty" });
    this.expect(true);
    this.jump = h("button", { class: "lp-button jump", type: "button", hidden: true, onclick: () => this.follow() });
    this.search = h("input", { type: "search", placeholder: t("Find in log"), "aria-label": t("Find in log") });
    this.found = h("output", {});
    this.counted = h("small", { class: "lp-muted" });
    const step = (by, name, sign) =>
      h("button", { class: "lp-button quiet", type: "button", "aria-label": name, onclick: () => this.#go(by) }, sign);
    this.element = h(
      "section",
      { class: "panel lp-card log" },
      h(
        "header",
        {},
        h("h3", {}, t("Log")),
        this.counted,
        h("div", { class: "find" }, this.search, this.found, step(-1, t("Match before"), "↑"), step(1, t("Next match"), "↓")),
        h("a", { class: "lp-button", href: `${root}/live/tasks/${this.#id}/log.txt`, download: `${this.#id}.log` }, t("Download")),
      ),
      h("div", { class: "frame" }, this.view, this.empty, this.jump),
    );
    this.view.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    new ResizeObserver(() => this.#plan()).observe(this.view);
    this.search.addEventListener("input", () => this.#searchFor(this.search.value));
    this.search.addEventListener("keydown", (event) => {
      if (event.key === "Enter") event.preventDefault(), this.#go(event.shiftKey ? -1 : 1);
      if (event.key === "Escape") (this.search.value = ""), this.#searchFor("");
    });
  }

  /** How many lines there are; the cursor from which to go on. */
  get next() {
    return this.#lines.length;
  }

  /** Whether more may come. */
  expect(more) {
    say(this.empty, more ? t("Lines appear here as soon as the task prints them.") : t("This task has printed nothing."));
  }

  /** `lines` are [number, text] with numbers from 1; holes are lines that nobody has looked at yet. */
  add(lines) {
    const before = this.#lines.length;
    for (const [number, text] of lines) this.#put(number, text);
    const fresh = this.#lines.length - before;
    if (!this.#stick) this.#unseen += fresh;
    if (this.#find.text) this.#match();
    if (fresh) this.empty.hidden = true;
    this.#plan();
  }

  /** Go to the end and stay there. */
  follow() {
    this.#stick = true;
    this.#unseen = 0;
    this.#plan();
  }

  #put(number, text) {
    const clean = text.replace(ESCAPES, "").slice(0, LONGEST);
    this.#lines[number - 1] = clean;
    if (clean.length > this.#widest) this.#widest = clean.length;
  }

  #scrolled() {
    const { scrollTop, clientHeight, scrollHeight } = this.view;
    const atEnd = scrollTop + clientHeight >= scrollHeight - ROW;
    if (atEnd) this.#unseen = 0;
    this.#stick = atEnd;
    this.#plan();
  }

  #plan() {
    if (this.#planned) return;
    this.#planned = true;
    requestAnimationFrame(() => {
      this.#planned = false;
      this.#draw();
    });
  }

  #draw() {
    const total = this.#lines.length;
    this.canvas.style.height = `${total * ROW + 8}px`;
    this.canvas.style.width = `${this.#widest + 12}ch`;
    if (this.#stick) this.view.scrollTop = this.view.scrollHeight;
    const first = Math.max(0, Math.floor(this.view.scrollTop / ROW) - BEYOND);
    const last = Math.min(total, Math.ceil((this.view.scrollTop + this.view.clientHeight) / ROW) + BEYOND);
    for (const [index, row] of this.#rows) {
      if (index < first || index >= last) row.remove(), this.#rows.delete(index);
    }
    for (let index = first; index < last; index++) this.#drawRow(index);
    say(this.counted, total ? tn(total, "{n} line", "{n} lines") : "");
    this.jump.hidden = this.#stick || !total;
    say(this.jump, this.#unseen ? t("↓ {n} new", { n: count(this.#unseen) }) : t("↓ To the end"));
  }

  #drawRow(index) {
    const text = this.#lines[index];
    if (text === undefined) this.#fetch(index);
    const current = index === this.#find.hits[this.#find.at];
    const sign = `${text}\n${this.#find.text}\n${current}`;
    let row = this.#rows.get(index);
    if (row?.sign === sign) return;
    if (!row) {
      row = this.canvas.appendChild(h("div", { "data-n": index + 1, style: `top:${index * ROW}px` }));
      this.#rows.set(index, row);
    }
    row.sign = sign;
    row.className = `l${current ? " hit" : ""}${kind(text ?? "")}`;
    row.replaceChildren(...marked(text ?? "…", this.#find.text));
  }

  async #fetch(index) {
    const after = Math.floor(index / CHUNK) * CHUNK;
    if (this.#asked.has(after)) return;
    this.#asked.add(after);
    try {
      const { lines } = await ask(`live/tasks/${this.#id}/log?after=${after}&limit=${CHUNK}`);
      for (const [number, text] of lines) if (this.#lines[number - 1] === undefined) this.#put(number, text);
      // What the server no longer has must not be asked for again and again.
      const end = Math.min(after + CHUNK, this.#lines.length);
      for (let i = after; i < end; i++) this.#lines[i] ??= "";
    } catch {
      setTimeout(() => this.#asked.delete(after), 3000);
    }
    this.#plan();
  }

  async #searchFor(text) {
    this.#find = { text: text.toLowerCase(), hits: [], at: -1, upTo: 0 };
    const mine = this.#find;
    if (!text) {
      say(this.found, "");
      return this.#plan();
    }
    for (let after = 0; after < this.#lines.length; after += CHUNK) {
      if (this.#holeIn(after)) {
        say(this.found, t("reading…"));
        await this.#fetch(after);
        if (mine !== this.#find) return;
      }
    }
    this.#match();
    if (mine.hits.length) this.#go(1);
    this.#plan();
  }

  #holeIn(after) {
    const end = Math.min(after + CHUNK, this.#lines.length);
    for (let i = after; i < end; i++) if (this.#lines[i] === undefined) return true;
    return false;
  }

  #match() {
    const find = this.#find;
    for (; find.upTo < this.#lines.length; find.upTo++) {
      if (this.#lines[find.upTo]?.toLowerCase().includes(find.text)) find.hits.push(find.upTo);
    }
    this.#sayFound();
  }

  #sayFound() {
    const { hits, at } = this.#find;
    say(this.found, hits.length ? `${at + 1} / ${hits.length}` : t("none"));
  }

  #go(by) {
    const find = this.#find;
    if (!find.hits.length) return;
    find.at = find.at < 0 ? this.#nearestHit() : (find.at + by + find.hits.length) % find.hits.length;
    this.#stick = false;
    this.view.scrollTop = find.hits[find.at] * ROW - this.view.clientHeight / 2;
    this.#sayFound();
    this.#plan();
  }

  #nearestHit() {
    const top = Math.floor(this.view.scrollTop / ROW);
    const below = this.#find.hits.findIndex((line) => line >= top);
    return below < 0 ? this.#find.hits.length - 1 : below;
  }
}

function kind(text) {
  return BAD.test(text) ? " bad" : WARN.test(text) ? " warn" : "";
}

function marked(text, wanted) {
  if (!wanted) return [text];
  const parts = [];
  const lower = text.toLowerCase();
  let from = 0;
  for (let at = lower.indexOf(wanted); at >= 0; at = lower.indexOf(wanted, from)) {
    parts.push(text.slice(from, at), h("mark", {}, text.slice(at, at + wanted.length)));
    from = at + wanted.length;
  }
  parts.push(text.slice(from));
  return parts;
}

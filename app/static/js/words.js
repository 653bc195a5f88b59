// The words of the pages in the language of the page: English, unless the server has a catalogue for another.
//
// Every text that a person reads goes through one of these; a test sees to it that no catalogue lacks one.

const root = document.querySelector('meta[name="lp-root"]')?.content ?? "";

export const language = document.querySelector('meta[name="lp-language"]')?.content ?? "en";

const { texts, messages } = await catalogue();
let patterns;

async function catalogue() {
  let found = {};
  try {
    if (language !== "en") found = await (await fetch(`${root}/languages/${language}.json`)).json();
  } catch {
    // Then it is English.
  }
  return { texts: new Map(Object.entries(found.texts ?? {})), messages: new Map(Object.entries(found.messages ?? {})) };
}

const filled = (text, values) => text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);

/** A text of ours, `{name}` in it being `values.name`. */
export const t = (text, values = {}) => filled(texts.get(text) ?? text, values);

/** The same for a number of things, `{n}` of them. */
export const tn = (n, one, many, values = {}) => t(n === 1 ? one : many, { n: String(n).replace(/\B(?=(\d{3})+$)/g, " "), ...values });

/** A text with elements in it: its pieces, as children for `h`. */
export function pieces(text, elements) {
  return (texts.get(text) ?? text).split(/\{(\w+)\}/).map((part, i) => (i % 2 ? elements[part] : part));
}

/**
 * What the server has said, as far as the catalogue knows it: as a whole, or sentence by sentence; with `parts`, what
 * stands between commas by itself.
 */
export function said(text, parts = false) {
  if (!text || !messages.size) return text;
  return known(text) ?? named(text) ?? (parts ? text.split(/, | and /).map(clauses).join(t(", ")) : sentences(text));
}

/** What is said of an argument or a line that it names first: `noise_offset is …`, `width: is …`, `'a cat --q 1': …`. */
function named(text) {
  const [, name, rest] = /^([a-z]\w*_\w+|[a-z][\w.[\]-]*:|'.+?':) (.+)$/s.exec(text) ?? [];
  const words = rest && (known(rest) ?? sentences(rest));
  if (!words || words === rest) return undefined;
  return name.endsWith(":") ? [name.slice(0, -1), words].join(t(": ")) : `${name} ${words}`;
}

const sentences = (text) => together(...text.split(/(?<=[.!?])\s+/).map(clauses));

/** A sentence as a whole, or what stands between its semicolons, as far as it is known. */
function clauses(text) {
  const found = known(text);
  const parts = text.split("; ");
  if (found !== undefined || parts.length === 1) return found ?? text;
  const told = parts.map(known);
  return told.some((part) => part !== undefined) ? parts.map((part, i) => told[i] ?? part).join(t("; ")) : text;
}

/** Sentences one after the other; a full stop as Chinese writes it has its own room. */
export const together = (...parts) => parts.filter(Boolean).join(" ").replace(/(?<=[。！？]) /g, "");

/** Places whose content is a word that may be known by itself. */
const WORDS = new Set(["kind", "state"]);
const single = (text) => messages.get(text) ?? texts.get(text) ?? text;

function known(text) {
  const whole = messages.get(text) ?? texts.get(text);
  if (whole !== undefined) return whole;
  patterns ??= [...messages]
    .filter(([key]) => /\{\w+\}/.test(key))
    .map(([key, value]) => [pattern(key), names(key), value])
    // What says most comes first.
    .sort(([a], [b]) => b.source.length - a.source.length);
  for (const [regular, keys, value] of patterns) {
    const found = regular.exec(text);
    if (found) return filled(value, Object.fromEntries(keys.map((name, i) => [name, WORDS.has(name) ? single(found[i + 1]) : found[i + 1]])));
  }
  return undefined;
}

const names = (key) => [...key.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);

/** What a message is recognised by: its words, with something in each of its places; `{n}` is one word. */
function pattern(key) {
  const parts = key.split(/\{(\w+)\}/);
  const place = (name) => (name === "n" ? "([^;,\\s]+)" : "(.+?)");
  return new RegExp(`^${parts.map((part, i) => (i % 2 ? place(part) : part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"))).join("")}$`, "s");
}

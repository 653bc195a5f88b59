// Elements are built, never written as text: what a task is called can hold anything.

import { t } from "./words.js";

/** Whether there is no gateway behind this page: it shows commands and queues nothing. */
export const prints = Boolean(document.querySelector('meta[name="lp-prints"]'));

export const root = document.querySelector('meta[name="lp-root"]')?.content ?? "";

/** h("a", {class: "x", href: "…", onclick: f}, "text", child, [more]) */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || (value === false && !name.startsWith("aria-"))) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true && !name.startsWith("aria-") ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Sets the text only when it differs, so that nothing is laid out for nothing. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function chip(state) {
  return h("span", { class: `lp-chip ${state}` }, states[state] ?? state);
}

export const states = {
  waiting: t("queued"),
  assigned: t("starting"),
  running: t("running"),
  succeeded: t("done"),
  failed: t("failed"),
  cancelled: t("stopped"),
  dead: t("gave up"),
};

/** What was said, as a sentence begins: but a name of a setting stays what it is. */
export const capital = (text) => (text && !/^\w*[_./]\w/.test(text) ? text[0].toUpperCase() + text.slice(1) : (text ?? ""));

export const isFinal = (state) => ["succeeded", "failed", "cancelled", "dead"].includes(state);

let toasts;

export function toast(text, bad = false) {
  toasts ??= document.body.appendChild(h("div", { class: "lp-toasts lp-ui", role: "status", "aria-live": "polite" }));
  const element = h("div", { class: bad ? "lp-toast bad" : "lp-toast" }, text);
  toasts.append(element);
  setTimeout(() => element.remove(), bad ? 9000 : 4500);
}

/** Asks before something that cannot be taken back; `more` are elements with what else there is to choose. */
export function ask(question, yes, detail, no = t("Keep it running"), more = []) {
  return new Promise((resolve) => {
    const dialog = h(
      "dialog",
      { class: "lp-dialog lp-ui ask", "aria-label": question, onclose: () => (resolve(dialog.returnValue === "yes"), dialog.remove()) },
      h(
        "form",
        { method: "dialog" },
        h("b", {}, question),
        detail && h("p", {}, detail),
        more,
        h(
          "menu",
          {},
          h("button", { class: "lp-button", value: "no" }, no),
          h("button", { class: "lp-button primary danger", value: "yes" }, yes),
        ),
      ),
    );
    document.body.append(dialog);
    dialog.showModal();
  });
}

export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without https there is no clipboard to write to, but there is this.
    const area = h("textarea", { style: "position:fixed;opacity:0" });
    area.value = text;
    (document.querySelector("dialog[open]") ?? document.body).append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  toast(t("Copied."));
}

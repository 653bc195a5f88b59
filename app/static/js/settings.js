// With which settings a task was submitted, and where it has run.

import { copy, h } from "./dom.js";
import { clock, duration } from "./format.js";
import { said, t, tn } from "./words.js";

export class Settings {
  #shown = "";

  constructor(id) {
    this.id = id;
    this.element = h("div", {});
    this.settings = details(t("Settings"));
    this.attempts = details(t("Attempts"));
    this.element.append(this.settings.element, this.attempts.element);
  }

  show(task) {
    const sign = JSON.stringify([task.argv, task.command, task.tags, task.details, task.attempts]);
    if (sign === this.#shown) return;
    this.#shown = sign;
    this.#showSettings(task);
    this.#showAttempts(task);
  }

  #showSettings(task) {
    const command = task.command || (task.argv ?? []).map(quoted).join(" ");
    const changed = Object.entries(task.details?.settings ?? {});
    this.settings.body.replaceChildren(
      h("dl", { class: "settings" }, changed.map(([key, value]) => h("div", {}, h("dt", {}, key), h("dd", {}, String(value))))),
      command ? h("pre", { class: "lp-code" }, command) : h("p", { class: "lp-muted" }, t("This task carries data, not a command.")),
      h("p", {}, command && h("button", { class: "lp-button", type: "button", onclick: () => copy(command) }, t("Copy command"))),
      h("p", { class: "lp-muted" }, t("Task {id}", { id: task.id })),
    );
    this.settings.note.textContent = changed.length ? tn(changed.length, "{n} changed from the defaults", "{n} changed from the defaults") : "";
  }

  #showAttempts(task) {
    const attempts = task.attempts ?? [];
    this.attempts.note.textContent = attempts.length ? String(attempts.length) : t("none yet");
    this.attempts.body.replaceChildren(
      attempts.length
        ? h(
            "div",
            { class: "scroll-x" },
            h(
              "table",
              { class: "files" },
              h("thead", {}, h("tr", {}, ["", t("Instance"), t("Started"), t("Took"), t("Outcome")].map((name) => h("th", {}, name)))),
              h("tbody", {}, attempts.map(attempt)),
            ),
          )
        : h("p", { class: "lp-muted" }, t("No instance has taken this task yet.")),
    );
  }
}

function attempt({ number, instance, started_at, ended_at, outcome, reason }) {
  return h(
    "tr",
    {},
    h("td", {}, String(number)),
    h("td", {}, instance),
    h("td", {}, clock(started_at)),
    h("td", {}, ended_at ? duration(ended_at - started_at) : t("runs")),
    h("td", {}, [said(outcome), said(reason)].filter(Boolean).join(t(": "))),
  );
}

function details(title) {
  const note = h("small", {});
  const body = h("div", { class: "body" });
  return { note, body, element: h("details", { class: "panel lp-card" }, h("summary", {}, `${title} `, note), body) };
}

/** An argument as a shell would need it, for people who paste it into one. */
function quoted(word) {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'"'"'`)}'`;
}

// What instances were spent on: seconds of each user, for tasks, for starts, and idle after a task.

import { h } from "./dom.js";
import { duration } from "./format.js";
import { t } from "./words.js";

const MOST = 20;
const KINDS = { run: t("tasks"), boot: t("starting"), idle: t("idle") };

/** `users` are {user, run, boot, idle} in seconds, the largest first. */
export function usage(users) {
  if (!users.length) return h("p", { class: "lp-empty" }, t("No instance has been used yet."));
  const shown = users.length > MOST ? [...users.slice(0, MOST - 1), rest(users.slice(MOST - 1))] : users;
  const longest = Math.max(...shown.map(total), 1);
  return h(
    "div",
    { class: "scroll-x lp-stacks", tabindex: "0", role: "group", "aria-label": t("GPU time by user") },
    h(
      "table",
      { class: "files usage" },
      h("thead", {}, h("tr", {}, h("th", {}, t("User")), h("th", { class: "wide" }, ""), Object.entries(KINDS).map(([kind, name]) => h("th", { class: `end ${kind}` }, name)))),
      h("tbody", {}, shown.map((user) => line(user, longest))),
    ),
    h("p", { class: "lp-muted lead" }, t("Time of a GPU, or of a CPU slot, since the service is there. Starts count for whose task came first, idle time for whose task was last.")),
  );
}

const total = ({ run, boot, idle }) => run + boot + idle;

function rest(users) {
  const sum = (kind) => users.reduce((all, user) => all + user[kind], 0);
  return { user: t("all others"), run: sum("run"), boot: sum("boot"), idle: sum("idle") };
}

function line(user, longest) {
  return h(
    "tr",
    {},
    h("td", {}, user.user || h("span", { class: "lp-muted" }, t("nobody in particular"))),
    h("td", { class: "wide" }, h("div", { class: "bars", "aria-hidden": "true" }, Object.keys(KINDS).map((kind) => h("i", { class: kind, style: `width: ${(100 * user[kind]) / longest}%` })))),
    Object.entries(KINDS).map(([kind, name]) => h("td", { class: `end ${kind}`, "data-label": name }, duration(user[kind]))),
  );
}

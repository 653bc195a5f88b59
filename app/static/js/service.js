// The service page: what there is to run tasks, what each instance does, and why there are as many as there are.

import { Board } from "./board.js";
import { chip, h, say, toast } from "./dom.js";
import { ago, clock, duration, now, setClock } from "./format.js";
import { ask } from "./live.js";
import { taskUrl } from "./row.js";

const page = document.getElementById("lp-page");
const services = h("div", { class: "services" }, h("p", { class: "lp-empty" }, "Loading…"));
const instances = h("div", {});
const journal = h("ol", { class: "journal" });
page.append(
  services,
  h("section", { class: "panel lp-card" }, h("h2", {}, "Instances"), instances),
  h("section", { class: "panel lp-card" }, h("h2", {}, "Decisions"), h("p", { class: "lp-muted lead" }, "What was seen, what was done about the number of instances, and why."), journal),
);

let asked = null;
let known = null;

const board = new Board((what) => (what === "pool" || !known ? refresh() : draw()));

/** At most one question at a time, and one a second. */
function refresh() {
  asked ??= setTimeout(read, known ? 800 : 0);
}

async function read() {
  try {
    known = await ask("live/pool");
    setClock(known.now);
    draw();
  } catch (error) {
    if (!known) toast(error.message, true);
  }
  asked = null;
}

function draw() {
  if (!known) return;
  services.replaceChildren(
    ...(known.services.length
      ? known.services.map(serviceCard)
      : [h("p", { class: "lp-card lp-empty" }, h("b", {}, "No service yet"), "Create one with lorapool service create.")]),
  );
  instances.replaceChildren(known.instances.length ? table() : h("p", { class: "lp-empty" }, h("b", {}, "No instance is running"), "One starts as soon as there is a task for it."));
  journal.replaceChildren(...(known.decisions.length ? known.decisions.map(decision) : [h("li", { class: "lp-empty" }, "Nothing had to be decided yet.")]));
}

function serviceCard(service) {
  const fact = (name, value) => h("div", {}, h("dt", {}, name), h("dd", {}, String(value)));
  return h(
    "section",
    { class: "lp-card service" },
    h("header", {}, h("h1", {}, service.name), h("span", { class: "lp-muted" }, `${service.type}, ${service.state.toLowerCase()}`)),
    h(
      "dl",
      {},
      fact("Queued", service.waiting),
      fact("Running", service.running),
      fact("Instances", service.instances),
      fact("At least", service.min),
      fact("At most", service.max),
    ),
    (service.warnings ?? []).map((warning) => h("p", { class: "lp-muted" }, warning)),
  );
}

function table() {
  const heads = ["Instance", "State", "Does", "Device", "Has loaded", "Up", "Tasks done"];
  return h(
    "div",
    { class: "scroll-x" },
    h("table", { class: "files" }, h("thead", {}, h("tr", {}, heads.map((name) => h("th", {}, name)))), h("tbody", {}, known.instances.map(line))),
  );
}

function line(instance) {
  return h(
    "tr",
    { "data-instance": instance.id },
    h("td", {}, instance.id, known.services.length > 1 && h("div", { class: "lp-muted" }, instance.service)),
    h("td", {}, state(instance)),
    h("td", {}, does(instance)),
    h("td", {}, [instance.device, instance.host].filter(Boolean).join(" on ") || "–"),
    h("td", {}, instance.loaded.join(", ") || "–"),
    h("td", {}, duration(now() - instance.created_at)),
    h("td", {}, String(instance.completed)),
  );
}

function state(instance) {
  const element = chip(instance.state);
  say(element, instance.state);
  return element;
}

function does(instance) {
  if (instance.tasks.length) {
    return instance.tasks.flatMap((id, i) => [i ? ", " : "", h("a", { href: taskUrl(id) }, board.tasks.get(id)?.name || id)]);
  }
  const idle = instance.idle_since ? `idle for ${duration(now() - instance.idle_since)}` : "idle";
  const words = { starting: "starting", idle, busy: "busy", draining: "ends when its task has ended" };
  return [words[instance.state] ?? instance.state, instance.reason && `: ${instance.reason}`].filter(Boolean).join("");
}

function decision(entry) {
  const times = entry.times > 1 ? `, ${entry.times} times until ${clock(entry.until)}` : "";
  return h(
    "li",
    {},
    h("time", {}, `${clock(entry.at)}${times} · ${ago(entry.until ?? entry.at)}`),
    h("b", {}, sentence(entry.decided)),
    h("span", {}, sentence(entry.why)),
    h("span", { class: "lp-muted" }, `Seen: ${entry.seen}.`, entry.why_not_more && ` Not more, because ${entry.why_not_more}.`),
  );
}

const sentence = (text) => (text ? `${text[0].toUpperCase()}${text.slice(1)}.` : "");

setInterval(() => !document.hidden && (known ? draw() : refresh()), 2000);
setInterval(() => !document.hidden && refresh(), 15_000);

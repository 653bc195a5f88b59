// The service page: what there is to run tasks, what each instance does, why there are as many as there are, and what
// they were spent on.

import { Board } from "./board.js";
import { chip, h, say, toast } from "./dom.js";
import { ago, clock, duration, now, setClock, size, title } from "./format.js";
import { ask } from "./live.js";
import { Past } from "./past.js";
import { holding } from "./pause.js";
import { taskUrl } from "./row.js";
import { Scaling } from "./scaling.js";
import { usage } from "./usage.js";
import { said, t, together } from "./words.js";

const STATES = { starting: t("starting"), idle: t("idle"), busy: t("busy"), draining: t("draining") };
/** Which colour of an instance's states says the same of a service. */
const LOOKS = { running: "idle", failed: "failed" };
const POOL_EVERY = 5_000;
const ABOUT_EVERY = 15_000;

const page = document.getElementById("lp-page");
const services = h("div", { class: "services" }, h("p", { class: "lp-empty" }, t("Loading…")));
const instances = h("div", {});
const journal = h("ol", { class: "journal" });
const spent = h("div", {});
const past = new Past();
const scaling = new Scaling((settings) => settings && readAbout());
const panel = (title, ...inside) => h("section", { class: "panel lp-card", "aria-label": title }, h("h2", {}, title), ...inside);
const ofOne = h(
  "div",
  { class: "of-one", hidden: true },
  past.element,
  h("div", { class: "pair" }, scaling.element, panel(t("GPU time by user"), spent)),
  panel(t("Decisions"), h("p", { class: "lp-muted lead" }, t("What was seen, what was done about the number of instances, and why.")), journal),
);
page.append(services, panel(t("Instances"), instances), ofOne);

let asked = null;
let known = null;
let about = null;
let stale = true;
let chosen = new URLSearchParams(location.search).get("service");

const board = new Board((what) => {
  if (what === "pool") stale = true;
  if (what === "pool" || !known) refresh();
  else draw();
});

/** At most one question at a time, and one a second. */
function refresh() {
  asked ??= setTimeout(read, known ? 800 : 0);
}

async function read() {
  try {
    known = await ask("live/pool");
    setClock(known.now);
    const names = known.services.filter(runsTasks).map(({ name }) => name);
    if (!names.includes(chosen)) choose(names[0] ?? null);
    else if (stale || !about) readAbout();
    draw();
  } catch (error) {
    if (!known) toast(error.message, true);
  }
  asked = null;
}

const runsTasks = ({ type }) => type !== "Queue";

function choose(name) {
  chosen = name;
  about = null;
  ofOne.hidden = !name;
  past.of(name);
  scaling.of(name);
  if (name) readAbout();
}

async function readAbout() {
  const name = chosen;
  stale = false;
  try {
    const answer = await ask(`live/services/${encodeURIComponent(name)}/about`);
    if (name !== chosen) return;
    about = answer;
    scaling.show(about.settings, known.may_change);
    drawAbout();
  } catch (error) {
    if (!about) toast(error.message, true);
  }
}

/** Whether there is anything new to show in `element`; what has the focus is not taken away for the same thing again. */
function news(element, what) {
  const sign = JSON.stringify(what);
  const same = element.dataset.shows === sign;
  element.dataset.shows = sign;
  return !same;
}

function draw() {
  if (!known) return;
  if (news(services, [known.services, chosen])) {
    services.replaceChildren(
      ...(known.services.length
        ? known.services.map(serviceCard)
        : [h("p", { class: "lp-card lp-empty" }, h("b", {}, t("No service yet")), t("Create one with lorapool service create."))]),
    );
  }
  if (news(instances, known.instances) || !instances.contains(document.activeElement)) drawInstances();
  if (about) drawAbout();
}

function drawInstances() {
  instances.replaceChildren(known.instances.length ? table() : h("p", { class: "lp-empty" }, h("b", {}, t("No instance is running")), t("One starts as soon as there is a task for it.")));
}

function drawAbout() {
  if (news(spent, about.users)) spent.replaceChildren(usage(about.users));
  if (news(journal, about.decisions)) {
    journal.replaceChildren(...(about.decisions.length ? about.decisions.map(decision) : [h("li", { class: "lp-empty" }, t("Nothing had to be decided yet."))]));
  }
  journal.querySelectorAll("time").forEach((element, i) => say(element, moment(about.decisions[i])));
}

function serviceCard(service) {
  const fact = (name, value) => h("div", {}, h("dt", {}, name), h("dd", {}, String(value)));
  const several = known.services.filter(runsTasks).length > 1 && runsTasks(service);
  const pick = () => {
    history.replaceState(null, "", `?service=${encodeURIComponent(service.name)}`);
    choose(service.name);
    draw();
  };
  const name = several ? h("button", { class: "pick", type: "button", "aria-pressed": service.name === chosen, onclick: pick }, service.name) : service.name;
  const full = service.waiting > 0 && service.max > 0 && service.instances >= service.max;
  return h(
    "section",
    { class: "lp-card service", "data-service": service.name },
    h("header", {}, h("h1", {}, name), h("span", { class: `lp-chip ${LOOKS[service.state.toLowerCase()] ?? "starting"}` }, said(service.state.toLowerCase())), h("span", { class: "lp-muted" }, service.type)),
    service.trouble && h("p", { class: "trouble" }, said(service.trouble)),
    h(
      "dl",
      {},
      fact(t("Queued"), service.waiting),
      fact(t("Running"), service.running),
      fact(t("Instances"), service.instances),
      fact(t("At least"), service.min),
      fact(t("At most"), service.max),
    ),
    full && h("p", { class: "lp-muted" }, t("As many instances as are allowed are there. What waits now waits for one of them, whatever the rule.")),
    known.may_change && runsTasks(service) && h("p", {}, holding(service, refresh)),
    (service.warnings ?? []).map((warning) => h("p", { class: "lp-muted" }, said(warning))),
  );
}

function table() {
  const heads = [t("Instance"), t("State"), t("Does"), t("Has loaded"), t("Memory"), t("Load"), t("Up"), t("Tasks done")];
  return h(
    "div",
    { class: "scroll-x lp-stacks", tabindex: "0", role: "group", "aria-label": t("Instances") },
    h("table", { class: "files" }, h("thead", {}, h("tr", {}, heads.map((name) => h("th", {}, name)))), h("tbody", {}, known.instances.map((instance) => line(instance, heads)))),
  );
}

function line(instance, heads) {
  const place = [instance.device, instance.host].filter(Boolean).join(" · ");
  const row = h(
    "tr",
    { "data-instance": instance.id },
    h("td", {}, instance.id, h("div", { class: "lp-muted" }, [known.services.length > 1 && instance.service, place].filter(Boolean).join(" · "))),
    h("td", {}, state(instance)),
    h("td", {}, does(instance)),
    h("td", { class: "loaded" }, instance.loaded.join(t(", ")) || "–"),
    h("td", { class: "memory" }, memory(instance.vitals)),
    h("td", { class: "load" }, load(instance.vitals)),
    h("td", {}, duration(now() - instance.created_at)),
    h("td", {}, String(instance.completed)),
  );
  // On a phone, where there is no row of heads, each cell says what it is.
  heads.forEach((text, i) => (row.children[i].dataset.label = text));
  return row;
}

/** Of the GPU where there is one; of the machine otherwise, and then that is said. */
function memory(vitals) {
  if (!vitals) return "–";
  const [used, total] = vitals.gpu ? [vitals.gpu_memory_used, vitals.gpu_memory_total] : [vitals.memory_used, vitals.memory_total];
  const text = t("{used} of {total}", { used: size(used), total: size(total) });
  return [meter(used / total, text), h("div", { class: "lp-muted" }, vitals.gpu || t("no GPU: the machine's memory"))];
}

function load(vitals) {
  if (!vitals) return "–";
  const share = vitals.gpu ? vitals.gpu_load : vitals.cpu_load;
  if (share === null || share === undefined) return "–";
  return [meter(share, t("{n} %", { n: Math.round(share * 100) })), h("div", { class: "lp-muted" }, vitals.gpu ? "GPU" : t("no GPU: all processor cores"))];
}

function meter(share, text) {
  return [text, h("div", { class: "lp-track", "aria-hidden": "true" }, h("i", { style: `width: ${Math.round(Math.min(1, share) * 100)}%` }))];
}

function state(instance) {
  const element = chip(instance.state);
  say(element, STATES[instance.state] ?? instance.state);
  return element;
}

function does(instance) {
  if (instance.tasks.length) {
    return instance.tasks.flatMap((id, i) => [i ? t(", ") : "", h("a", { href: taskUrl(id) }, title(board.tasks.get(id) ?? { id }))]);
  }
  const idle = instance.idle_since ? t("idle for {time}", { time: duration(now() - instance.idle_since) }) : t("idle");
  const words = { starting: t("starting"), idle, busy: t("busy"), draining: t("ends when its task has ended") };
  return [words[instance.state] ?? instance.state, said(instance.reason)].filter(Boolean).join(t(": "));
}

function moment(entry) {
  const times = entry.times > 1 ? t(", {n} times until {time}", { n: entry.times, time: clock(entry.until) }) : "";
  return `${clock(entry.at)}${times} · ${ago(entry.until ?? entry.at)}`;
}

function decision(entry) {
  return h(
    "li",
    {},
    h("time", {}, moment(entry)),
    h("b", {}, sentence(entry.decided)),
    h("span", {}, sentence(entry.why)),
    h(
      "span",
      { class: "lp-muted" },
      together(
        t("Seen: {what}.", { what: spoken(entry.seen) }),
        entry.why_not_more && t("Not more, because {why}.", { why: spoken(entry.why_not_more) }),
      ),
    ),
  );
}

const spoken = (text) => said(text ?? "", true);

const sentence = (text) => {
  const told = spoken(text);
  return told ? `${told[0].toUpperCase()}${told.slice(1)}${t(".")}` : "";
};

const seen = () => !document.hidden;
setInterval(() => seen() && known && draw(), 2000);
setInterval(() => seen() && refresh(), POOL_EVERY);
setInterval(() => seen() && chosen && readAbout(), ABOUT_EVERY);
document.addEventListener("visibilitychange", () => seen() && refresh());

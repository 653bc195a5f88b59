// The users page: who one is and has used, one's tokens; for administrators the accounts, and who did what.

import { ask as confirm, copy, h, toast } from "./dom.js";
import { clock, duration } from "./format.js";
import { ask, post } from "./live.js";
import { said, t } from "./words.js";

const ROLES = { admin: t("admin"), member: t("member"), viewer: t("viewer") };
const page = document.getElementById("lp-page");
const panel = (title, ...inside) => h("section", { class: "panel lp-card", "aria-label": title }, h("h2", {}, title), ...inside);
const button = (text, onclick, kind = "quiet") => h("button", { class: `lp-button ${kind}`, type: "button", onclick }, text);
const of = (name) => `people/users/${encodeURIComponent(name)}`;

/** A table that scrolls by itself; without rows what is said instead. */
function table(heads, rows, empty) {
  if (!rows.length) return h("p", { class: "lp-empty" }, ...empty);
  // On a phone, where there is no row of heads, each cell says what it is.
  for (const row of rows) heads.forEach((text, i) => (row.children[i].dataset.label = text));
  const head = h("tr", {}, heads.map((text) => h("th", { scope: "col" }, text)));
  return h("div", { class: "scroll lp-stacks", tabindex: 0, role: "region", "aria-label": heads[0] }, h("table", {}, h("thead", {}, head), h("tbody", {}, rows)));
}

/** Runs what was pressed; what goes wrong is said. */
const tries = (what) => async (event) => {
  event?.preventDefault();
  try {
    await what(event);
  } catch (error) {
    toast(said(error.message), true);
  }
};

const used = (value, limit) => (limit === null || limit === undefined ? String(value) : t("{n} of {most}", { n: value, most: limit }));
const seconds = (usage, limits) => (limits.gpu_seconds === null ? duration(usage.gpu_seconds) : t("{n} of {most}", { n: duration(usage.gpu_seconds), most: duration(limits.gpu_seconds) }));

/** Tokens of one account, and a form for another one. */
function tokens(name) {
  const list = h("div", {});
  const fresh = h("div", {});
  const what = h("input", { required: true, maxlength: 100, placeholder: t("my notebook"), autocomplete: "off" });
  const days = h("input", { type: "number", min: 1, max: 36500, placeholder: t("for ever") });
  const read = async () => {
    const found = (await ask(`${of(name)}/tokens`)).tokens;
    const revoke = (token) =>
      tries(async () => {
        if (!(await confirm(t("Revoke {name}?", { name: token.name }), t("Revoke"), t("Whatever uses it is refused from now on."), t("Keep it")))) return;
        await post(`${of(name)}/tokens/${token.id}/revoke`, {});
        if (token.current) location.reload();
        await read();
      });
    const row = (token) =>
      h(
        "tr",
        {},
        h("td", {}, token.kind === "session" ? t("a browser") : token.name),
        h("td", {}, h("code", {}, token.id), token.current && ` ${t("(this one)")}`),
        h("td", {}, clock(token.created_at)),
        h("td", {}, token.used_at ? clock(token.used_at) : "–"),
        h("td", {}, token.expires_at ? clock(token.expires_at) : t("never")),
        h("td", { class: "acts" }, button(t("Revoke"), revoke(token))),
      );
    list.replaceChildren(table([t("Token"), t("Id"), t("Made"), t("Last used"), t("Ends"), ""], found.map(row), [t("No tokens yet.")]));
  };
  const make = tries(async () => {
    const made = await post(`${of(name)}/tokens`, { name: what.value, days: days.value ? Number(days.value) : null });
    fresh.replaceChildren(h("div", { class: "secret", role: "status" }, h("span", {}, t("Copy it now: it is shown this once.")), h("code", {}, made.token), button(t("Copy"), () => copy(made.token))));
    what.value = "";
    await read();
  });
  const form = h("form", { onsubmit: make }, h("label", {}, t("What it is for"), what), h("label", {}, t("Days"), days), h("button", { class: "lp-button" }, t("Make a token")));
  tries(read)();
  return h("div", {}, list, form, fresh);
}

function mine(me) {
  const fact = (name, value) => h("div", {}, h("dt", {}, name), h("dd", {}, value));
  const facts = h(
    "dl",
    { class: "facts" },
    fact(t("Role"), ROLES[me.role] ?? me.role),
    fact(t("Running"), used(me.usage.running, me.limits.running)),
    fact(t("Queued"), used(me.usage.queued, me.limits.queued)),
    fact(t("GPU time today"), seconds(me.usage, me.limits)),
    fact(t("Services"), me.services?.join(t(", ")) ?? t("all")),
  );
  const leave = h("form", { method: "post", action: `${document.querySelector('meta[name="lp-root"]').content}/logout` }, h("button", { class: "lp-button" }, t("Log out")));
  return panel(t("My account: {name}", { name: me.name }), facts, tokens("me"), me.password && password(me), me.came_in && leave);
}

function password(me) {
  const old = h("input", { type: "password", autocomplete: "current-password", required: !me.administers });
  const next = h("input", { type: "password", autocomplete: "new-password", required: true, minlength: 8 });
  const change = tries(async () => {
    await post(`${of("me")}/password`, { old: old.value, password: next.value });
    old.value = next.value = "";
    toast(t("The password was changed. Other browsers have to log in again."));
  });
  return h("form", { onsubmit: change }, h("label", {}, t("Old password"), old), h("label", {}, t("New password"), next), h("button", { class: "lp-button" }, t("Change it")));
}

const limit = (value) => (value === "" ? null : Number(value));
const number = (about) => h("input", { type: "number", min: 0, placeholder: t("no limit"), ...about });

function accounts(me) {
  const list = h("div", {});
  const chosen = h("div", {});
  const read = async () => {
    const found = (await ask("people/users")).users;
    const rows = found.map((user) => {
      const role = h("select", { "aria-label": t("Role of {name}", { name: user.name }) }, Object.entries(ROLES).map(([value, title]) => h("option", { value, selected: value === user.role }, title)));
      role.onchange = tries(async () => {
        await post(of(user.name), { role: role.value }).finally(read);
      });
      const off = user.disabled ? "off" : "";
      return h(
        "tr",
        { "data-user": user.name },
        h("td", { class: off }, user.name, user.disabled && ` ${t("(disabled)")}`),
        h("td", {}, role),
        h("td", {}, used(user.usage.running, user.limits.running)),
        h("td", {}, used(user.usage.queued, user.limits.queued)),
        h("td", {}, seconds(user.usage, user.limits)),
        h("td", {}, user.services?.join(t(", ")) ?? t("all")),
        h("td", { class: "acts" }, button(t("Change"), () => (chosen.replaceChildren(one(user, read)), chosen.scrollIntoView({ block: "nearest" })))),
      );
    });
    const heads = [t("User"), t("Role"), t("Running"), t("Queued"), t("GPU time today"), t("Services"), ""];
    const none = [h("b", {}, t("No accounts yet")), t("Whoever reaches this front end may do everything. With the first account, an administrator's, it asks who one is.")];
    list.replaceChildren(table(heads, rows, none));
    if (!found.length) first();
  };
  const form = adding(read, me);
  // Somebody has to manage the accounts, without the deployment's token.
  const first = () => (form.querySelector("select").value = "admin");
  tries(read)();
  return [panel(t("Accounts"), list, form), chosen];
}

/** Limits, tokens and the rest of one account. */
function one(user, read) {
  const running = number({ value: user.limits.running ?? "" });
  const queued = number({ value: user.limits.queued ?? "" });
  const gpu = number({ value: user.limits.gpu_seconds ?? "", step: "any" });
  const commands = h("input", { type: "checkbox", checked: user.commands });
  const save = tries(async () => {
    const limits = { running: limit(running.value), queued: limit(queued.value), gpu_seconds: limit(gpu.value) };
    await post(of(user.name), { limits, commands: commands.checked });
    toast(t("{name} was changed.", { name: user.name }));
    await read();
  });
  const turn = tries(async () => {
    await post(of(user.name), { disabled: !user.disabled });
    element.remove();
    await read();
  });
  const remove = tries(async () => {
    if (!(await confirm(t("Remove {name}?", { name: user.name }), t("Remove"), t("Its tokens are void at once; its tasks, data and LoRAs stay, and nobody else gets its name."), t("Keep it")))) return;
    await post(`${of(user.name)}/remove`, {});
    element.remove();
    await read();
  });
  const element = panel(
    user.name,
    h(
      "form",
      { onsubmit: save },
      h("label", {}, t("Running at most"), running),
      h("label", {}, t("Queued at most"), queued),
      h("label", {}, t("GPU-seconds a day"), gpu),
      h("label", { class: "tick" }, commands, t("may run any command, and so read everything")),
      h("button", { class: "lp-button primary" }, t("Save")),
      button(user.disabled ? t("Enable") : t("Disable"), turn),
      button(t("Remove"), remove, "quiet danger"),
    ),
    tokens(user.name),
  );
  return element;
}

function adding(read, me) {
  const name = h("input", { required: true, maxlength: 64, autocomplete: "off", pattern: "[A-Za-z0-9][A-Za-z0-9._@+\\-]*" });
  const role = h("select", {}, Object.entries(ROLES).map(([value, title]) => h("option", { value, selected: value === "member" }, title)));
  const secret = h("input", { type: "password", autocomplete: "new-password", required: true, minlength: 8 });
  const add = tries(async () => {
    const wanted = { name: name.value, role: role.value, password: secret.value };
    try {
      await post("people/users", wanted);
    } catch (error) {
      if (error.kind !== "FormerName") throw error;
      if (!(await confirm(t("Is it the same {name}?", { name: wanted.name }), t("It is the same person"), t("There was a {name} before. Whoever gets the name gets the tasks, data and LoRAs that are kept under it; choose another name for somebody else.", { name: wanted.name }), t("Choose another name")))) return;
      await post("people/users", { ...wanted, returning: true });
    }
    toast(t("{name} can log in now.", { name: name.value }));
    name.value = secret.value = "";
    // With the first account, who has none is asked to log in: the front end knows of it within seconds.
    if (!me.came_in) for (let i = 1; i <= 6; i++) setTimeout(() => ask("people/me").catch(() => location.reload()), 1500 * i);
    await read();
  });
  return h("form", { onsubmit: add, class: "add" }, h("label", {}, t("Name"), name), h("label", {}, t("Role"), role), h("label", {}, t("Password"), secret), h("button", { class: "lp-button primary" }, t("Add")));
}

function audit() {
  const list = h("div", { class: "audit" });
  const entries = [];
  let next = null;
  const more = button(t("Older"), tries(read));
  async function read() {
    const answer = await ask(`people/audit${next ? `?before=${next}` : ""}`);
    next = answer.next;
    entries.push(...answer.entries);
    const row = (entry) =>
      h(
        "tr",
        {},
        h("td", {}, clock(entry.at)),
        h("td", {}, entry.who || said(entry.role) || t("nobody")),
        h("td", {}, entry.did.replaceAll("_", " ")),
        h("td", {}, entry.to),
        h("td", {}, said(entry.source)),
        h("td", {}, entry.status < 400 ? t("done") : t("refused")),
      );
    list.replaceChildren(table([t("When"), t("Who"), t("Did"), t("To"), t("From"), t("Answer")], entries.map(row), [t("Nothing was changed yet.")]));
    more.hidden = !next;
  }
  tries(read)();
  return panel(t("Who did what"), list, more);
}

async function draw() {
  let me;
  try {
    me = await ask("people/me");
  } catch (error) {
    page.replaceChildren(h("p", { class: "lp-card lp-empty", role: "alert" }, said(error.message)));
    return;
  }
  const own = me.name ? mine(me) : null;
  page.replaceChildren(...[own, ...(me.administers ? [...accounts(me), audit()] : [])].filter(Boolean));
  if (!page.children.length) {
    page.append(h("p", { class: "lp-card lp-empty" }, h("b", {}, t("This front end belongs to one service")), t("Accounts are managed at a front end with the deployment's token, or with lorapool user.")));
  }
}

draw();

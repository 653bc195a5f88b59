// The Train page: Gradio draws the fields, this decides what happens with them.
//
// Gradio calls `restore` when it is ready and puts what it returns into the fields, `changed` with all values after
// each change, and `start`. To fill the form, `fill` is made to return the values and its hidden button is pressed.

import { ask as request, post } from "./live.js";
import { root, toast } from "./dom.js";
import { Fields } from "./fields.js";
import { finder } from "./finder.js";
import { keep, stored } from "./kept.js";
import { Outlook } from "./outlook.js";
import { tools } from "./tools.js";
import { welcome } from "./welcome.js";
import { t, tn } from "./words.js";

const STORED = "lorapool.form";
const SAMPLES = "lorapool.samples";
const PATIENCE = 450;

const table = await (await fetch(`${root}/train/table`)).json();
const fields = new Fields(table);
let values = {};
let preset = "";
let timer;
let checking = null;
let filling = null;
let choices = {};

const sent = () => fields.changed(values);

/** Ask one of the page's own routes; see app/training.py. */
async function train(path, body) {
  return body ? post(`train/${path}`, body) : request(`train/${path}`);
}

const outlook = new Outlook({ train, fields, values: sent });

function store() {
  keep(STORED, { values: fields.withoutSecrets(sent()), preset });
}

/** The files that there are now, not those of when the server started. */
async function look() {
  try {
    choices = await train("choices");
  } catch {
    // The fields take free text too.
  }
}

/** Prompts that the Generate page has sent, as lines of the sample prompts; told once. */
function sentSamples() {
  try {
    const lines = JSON.parse(localStorage.getItem(SAMPLES)) ?? [];
    localStorage.removeItem(SAMPLES);
    return lines;
  } catch {
    return [];
  }
}

/** What other pages want to have in the form, whatever else is in it. */
function wished(wanted) {
  const data = new URLSearchParams(location.search).get("data");
  const lines = sentSamples();
  if (!data && !lines.length) return wanted;
  history.replaceState(null, "", `${root}/`);
  const more = {};
  if (data) more.train_data_dir = data;
  if (lines.length) more.sample_prompts = [wanted.sample_prompts?.trim(), ...lines].filter(Boolean).join("\n");
  toast(data ? t("The data set is chosen. Check the rest and start.") : tn(lines.length, "The prompt is among the sample prompts now.", "{n} prompts are among the sample prompts now."));
  return { ...wanted, ...more };
}

/** Nothing to train, or nothing to train it on: a newcomer is told what to do instead of being shown a form. */
async function greet() {
  const missing = { model: !choices.models?.length, data: !choices.datasets?.length };
  await welcome(choices.models && (missing.model || missing.data) ? missing : null, async () => {
    await look();
    const answer = await train("start");
    put(answer.values, answer.preset);
    await greet();
  });
}

/** The values to begin with: of the task that the address names, of this browser's last visit, or a newcomer's. */
async function restore() {
  await look();
  greet();
  const from = new URLSearchParams(location.search).get("from");
  if (from) {
    history.replaceState(null, "", `${root}/`);
    try {
      const answer = await train(`from/${encodeURIComponent(from)}`);
      toast(t("These are the settings of that job. Change what you like and start."));
      return begin(answer.values);
    } catch (error) {
      toast(error.message, true);
    }
  }
  const last = stored(STORED);
  if (last) return begin(wished(last.values), last.preset);
  try {
    const answer = await train("start");
    return begin(wished(answer.values), answer.preset);
  } catch {
    return begin({});
  }
}

function begin(wanted, name = "") {
  preset = name;
  bar.preset(name);
  const list = fields.list(wanted);
  values = fields.named(list);
  show();
  return fields.forGradio(list, choices);
}

/** Put these values into the form, everything else to its default. */
function put(wanted, name = "") {
  filling = begin(wanted, name);
  store();
  document.querySelector("#lp-fill").click();
}

const fill = () => filling;

function changed(list) {
  values = fields.named(list);
  clearTimeout(timer);
  timer = setTimeout(() => (store(), show()), PATIENCE);
}

function show() {
  fields.show(values);
  check();
}

/** Have the form checked, one check at a time, always the newest state last. */
async function check() {
  if (checking) return void (checking.again = true);
  const mine = (checking = { again: false, late: false });
  try {
    const answer = await train("check", { values: sent() });
    if (!mine.again && !mine.late) outlook.show(answer);
  } catch (error) {
    outlook.unknown(error.message);
  }
  checking = null;
  if (mine.again) check();
}

async function start(list) {
  values = fields.named(list);
  store();
  // What the start answers must not be painted over by a check that was asked before it.
  clearTimeout(timer);
  if (checking) Object.assign(checking, { again: false, late: true });
  const button = document.querySelector("#lp-start");
  if (button.disabled) return;
  button.disabled = true;
  await outlook.start();
  button.disabled = false;
}

const bar = tools({ train, put, values: sent, presets: table.presets, families: Object.values(table.family_checkboxes), find: finder(fields) });
fields.watch();
bar.mount();
outlook.mount();
window.lorapoolMade({ restore, fill, changed, start });

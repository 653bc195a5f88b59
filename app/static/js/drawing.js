// One drawing: a picture or several, a comparison, or a grid of checkpoints × weights, as it comes.

import { h, isFinal, root, say, toast } from "./dom.js";
import { ago, count, note } from "./format.js";
import { ask, fileUrl, follow, post } from "./live.js";
import { said, t } from "./words.js";

const MOST_FOLLOWED = 4;
const SAMPLES = "lorapool.samples";

const pictureUrl = (id, n) => `${root}/drawing/picture/${encodeURIComponent(id)}/${n}`;

export class Drawing {
  cells = new Map();
  #shape = "";

  /** `use(settings, how)` puts settings into the form; of `how`, `from` is the picture to start from. */
  constructor(group, use) {
    this.group = group;
    this.use = use;
    this.at = 0;
    this.title = h("p", { class: "prompt" });
    this.facts = h("p", { class: "facts" });
    this.line = h("p", { class: "line", role: "status" });
    this.bar = h("div", { class: "lp-track", hidden: true }, h("i", {}));
    this.body = h("div", { class: "pictures" });
    this.acts = h("div", { class: "acts" });
    this.element = h("article", { class: "lp-card drawing", "data-group": group }, this.body, h("div", { class: "about" }, this.title, this.facts, this.line, this.bar, this.acts));
  }

  /** A task of it, with all that the page needs to know. */
  take(task) {
    const { drawing } = task;
    const old = this.cells.get(task.id);
    if (!old) {
      this.cells.set(task.id, new Cell(task, this.use));
      this.place = drawing;
      // Of a comparison the settings are those with the LoRA, of a grid those without the checkpoint.
      if (!this.settings || drawing.column > 0) this.settings = drawing.settings;
      if (drawing.rows.length > 1) {
        this.compared = drawing.settings.loras.at(-1)?.name ?? "";
        this.settings = { ...drawing.settings, loras: drawing.settings.loras.slice(0, -1) };
      }
      this.at = Math.max(this.at, task.created_at);
      this.#build();
    }
    this.state(task);
  }

  /** What has changed about one of its tasks. */
  state(task) {
    this.cells.get(task.id)?.state(task, this.cells.size <= MOST_FOLLOWED);
    this.tick();
  }

  #build() {
    const { rows, columns } = this.place;
    const shape = JSON.stringify([rows, columns, this.cells.size]);
    if (shape === this.#shape) return;
    this.#shape = shape;
    say(this.title, this.settings.prompt);
    // Its checkpoints have one name in common.
    say(this.facts, [this.compared && shortName(this.compared).replace(/-(step)?\d{6,8}$/, ""), facts(this.settings)].filter(Boolean).join(" · "));
    const at = new Map([...this.cells.values()].map((cell) => [`${cell.row} ${cell.column}`, cell.element]));
    if (rows.length === 1 && columns.length === 1) {
      this.body.replaceChildren(...[...this.cells.values()].map((cell) => cell.element));
      return;
    }
    this.body.replaceChildren(
      h(
        "div",
        { class: "scroll-x", tabindex: "0", role: "group", "aria-label": t("Grid of pictures") },
        h(
          "table",
          { class: "grid" },
          h("thead", {}, h("tr", {}, rows.length > 1 && h("td", {}), columns.map((name) => h("th", { scope: "col" }, rows.length > 1 ? t("weight {n}", { n: name }) : said(name))))),
          h(
            "tbody",
            {},
            rows.map((name, row) => h("tr", {}, rows.length > 1 && h("th", { scope: "row" }, said(name)), columns.map((_, column) => h("td", {}, at.get(`${row} ${column}`) ?? "")))),
          ),
        ),
      ),
    );
  }

  /** The line below: where it is, or what became of it. */
  tick() {
    const tasks = [...this.cells.values()].map((cell) => cell.task);
    const open = tasks.filter((task) => !isFinal(task.state));
    const failed = tasks.filter((task) => isFinal(task.state) && task.state !== "succeeded");
    const text = open.length ? [doing(tasks, open), failed.length && missing(tasks, failed)].filter(Boolean).join(" · ") : ended(tasks, failed);
    say(this.line, text);
    this.element.classList.toggle("nothing", failed.length === tasks.length);
    this.line.classList.toggle("bad", failed.some((task) => task.state !== "cancelled"));
    const share = open.length ? done(tasks) : 1;
    this.bar.hidden = !open.length;
    this.bar.firstChild.style.width = `${Math.round(share * 100)}%`;
    this.#drawActs(open);
  }

  #drawActs(open) {
    const some = [...this.cells.values()].some((cell) => cell.task.state === "succeeded");
    const acts = [
      open.length && [t("Stop"), () => this.#stop(open)],
      [t("Use these settings"), () => this.use(this.settings, this.#how())],
      some && [t("To training samples"), () => this.#toSamples()],
    ].filter(Boolean);
    const names = acts.map(([name]) => name).join();
    if (this.acts.dataset.shows === names) return;
    this.acts.dataset.shows = names;
    this.acts.replaceChildren(...acts.map(([name, act]) => h("button", { class: "lp-button", type: "button", onclick: act }, name)));
  }

  /** How the form asks for the like. */
  #how() {
    const { rows, columns } = this.place;
    if (rows.length === 1) return { compare: columns.length > 1 };
    return { mode: "grid", training: /^jobs\/([^/]+)\//.exec(this.compared)?.[1], weights: columns.join(", ") };
  }

  async #stop(open) {
    try {
      await Promise.all(open.map((task) => post(`live/tasks/${encodeURIComponent(task.id)}/cancel`, { mode: "stop" })));
    } catch (error) {
      toast(error.message, true);
    }
  }

  /** The prompt as a line of Kohya's prompt file, kept for the Train page. */
  #toSamples() {
    const s = this.settings;
    const seed = [...this.cells.values()].find((cell) => cell.seeds?.length)?.seeds[0] ?? s.seed;
    const options = { n: s.negative_prompt, w: s.width, h: s.height, s: s.steps, l: s.guidance, d: seed };
    const line = [s.prompt.replaceAll(/\s+/g, " "), ...Object.entries(options).filter(([, value]) => value !== undefined && value !== null && value !== "").map(([key, value]) => `--${key} ${value}`)].join(" ");
    try {
      const lines = JSON.parse(localStorage.getItem(SAMPLES)) ?? [];
      localStorage.setItem(SAMPLES, JSON.stringify([...lines.filter((each) => each !== line), line]));
      toast(t("The next training draws it: open the Train page."));
    } catch {
      toast(t("This browser keeps nothing; copy the prompt by hand."), true);
    }
  }
}

/** One task of a drawing and its pictures. */
class Cell {
  constructor(task, use) {
    this.task = task;
    this.use = use;
    ({ row: this.row, column: this.column } = task.drawing);
    this.count = task.drawing.settings.count ?? 1;
    const { width, height } = task.drawing.settings;
    this.shape = width && height ? `${width} / ${height}` : "1";
    this.element = h("div", { class: "cell", "data-task": task.id });
    this.prompt = task.drawing.settings.prompt;
    this.#wait();
  }

  state(task, followed) {
    Object.assign(this.task, task);
    this.element.dataset.state = task.state;
    if (task.state === "succeeded") this.#show();
    else if (isFinal(task.state)) this.#fail();
    else if (followed && ["assigned", "running"].includes(task.state)) this.#follow();
  }

  #wait() {
    this.places = Array.from({ length: this.count }, () => h("div", { class: "empty-picture", style: `aspect-ratio: ${this.shape}` }));
    this.element.replaceChildren(...this.places);
  }

  /** Previews as they come. */
  #follow() {
    this.following ??= follow(
      () => `tasks/${encodeURIComponent(this.task.id)}?files=${this.seen ?? 0}`,
      ({ event, data }) => {
        if (event === "files") {
          this.seen = data.next;
          const newest = data.files.filter((file) => file.kind === "sample").slice(-this.count);
          if (!isFinal(this.task.state)) newest.forEach((file, i) => this.#preview(file, i));
        }
        return event === "end" || event === "refused" ? false : undefined;
      },
    );
  }

  #preview(file, place) {
    const at = this.places[this.places.length > 1 ? place : 0];
    const url = fileUrl(this.task.id, file.path);
    const image = at.querySelector("img") ?? at.appendChild(h("img", { alt: t("Preview") }));
    image.src = url;
  }

  async #show() {
    this.#unfollow();
    if (this.shown) return;
    this.shown = true;
    try {
      const answer = await ask(`drawing/answer/${encodeURIComponent(this.task.id)}`);
      this.seeds = answer.seeds;
      this.element.replaceChildren(...Array.from({ length: answer.pictures }, (_, n) => this.#picture(n, answer)));
    } catch (error) {
      this.element.replaceChildren(h("p", { class: "gone" }, error.message));
    }
  }

  #picture(n, answer) {
    const url = pictureUrl(this.task.id, n);
    const { width, height } = answer.parameters ?? {};
    const name = [this.prompt, t("seed {n}", { n: answer.seeds?.[n] ?? "?" })].join(t(", "));
    return h(
      "button",
      { class: "picture", type: "button", onclick: () => look(url, this.prompt, answer, n, this.use) },
      // With its size, so that its place is there before it is, and what is out of sight is not fetched.
      h("img", { src: url, alt: name, ...(width && height ? { width, height } : {}), loading: "lazy", decoding: "async" }),
    );
  }

  #fail() {
    this.#unfollow();
    const stopped = this.task.state === "cancelled";
    const why = said(this.task.reason) || "";
    const look = { class: "gone", style: `aspect-ratio: ${this.shape}`, title: why };
    this.element.replaceChildren(stopped || !why ? h("p", look, stopped ? t("stopped") : t("failed")) : h("button", { ...look, type: "button", onclick: () => toast(why, true) }, t("failed")));
  }

  #unfollow() {
    this.following?.stop();
    this.following = null;
  }
}

/** One picture, large. */
function look(url, prompt, answer, n, use) {
  const s = { ...answer.parameters, seed: answer.seeds?.[n] ?? answer.parameters?.seed, count: undefined };
  const take = (how) => (dialog.close(), use(s, how));
  const dialog = h(
    "dialog",
    { class: "lp-dialog lp-ui lightbox", "aria-label": prompt, onclose: () => dialog.remove(), onclick: (event) => event.target === dialog && dialog.close() },
    h("img", { src: url, alt: prompt }),
    h(
      "footer",
      {},
      h("p", {}, h("b", {}, prompt), h("br", {}), h("span", { class: "lp-muted" }, facts(s))),
      h("button", { class: "lp-button", type: "button", onclick: () => take({}) }, t("Use these settings")),
      h("button", { class: "lp-button", type: "button", onclick: () => take({ from: url }) }, t("Start from this picture")),
      h("a", { class: "lp-button", href: `${url}?download`, download: true }, t("Download")),
      h("button", { class: "lp-button", type: "button", onclick: () => dialog.close() }, t("Close")),
    ),
  );
  document.body.append(dialog);
  dialog.showModal();
}

const shortName = (path) => String(path).split("/").at(-1).replace(/\.safetensors$/, "");

function facts(s) {
  const loras = (s.loras ?? []).map(({ name, weight }) => `${shortName(name)} ${weight ?? 1}`);
  return [
    s.model && shortName(s.model),
    ...loras,
    s.width && s.height && `${s.width}×${s.height}`,
    s.steps && t("{n} steps", { n: s.steps }),
    s.guidance !== undefined && s.guidance !== null && t("guidance {n}", { n: s.guidance }),
    s.seed !== undefined && s.seed !== null && t("seed {n}", { n: s.seed }),
  ]
    .filter(Boolean)
    .join(" · ");
}

const done = (tasks) =>
  tasks.reduce((sum, { state, progress }) => sum + (isFinal(state) ? 1 : progress?.total ? progress.step / progress.total : 0), 0) / tasks.length;

function doing(tasks, open) {
  if (tasks.length > 1) return t("{n} of {total} done", { n: count(tasks.length - open.length), total: count(tasks.length) });
  const [task] = open;
  return task.state === "running" && task.progress?.total ? t("step {n} of {total}", { n: task.progress.step, total: task.progress.total }) : note(task);
}

function ended(tasks, failed) {
  return failed.length ? missing(tasks, failed) : ago(Math.max(...tasks.map((task) => task.finished_at ?? 0)));
}

/** Why there are fewer pictures than were asked for. */
function missing(tasks, failed) {
  const { state, reason } = failed.find((task) => task.state !== "cancelled") ?? failed[0];
  const what = state === "cancelled" ? t("stopped") : said(reason) || t("failed");
  return tasks.length > 1 ? t("{n} of {total} not drawn: {why}", { n: failed.length, total: tasks.length, why: what }) : what;
}

// Holding the queue: what runs ends, what is queued waits, until somebody lets it go on.

import { h, toast } from "./dom.js";
import { ask, post } from "./live.js";
import { t } from "./words.js";

const stopped = (service) => ["Stopped", "Stopping"].includes(service.state);

/** A button that holds a service, or lets it go on; `done()` is called after that. */
export function holding(service, done) {
  const held = stopped(service);
  const act = async (event) => {
    event.target.disabled = true;
    try {
      await post(`live/services/${encodeURIComponent(service.name)}/${held ? "start" : "stop"}`, {});
      toast(held ? t("The queue goes on.") : t("The queue is paused. What runs now is not interrupted."));
    } catch (error) {
      toast(error.message, true);
    }
    event.target.disabled = false;
    done();
  };
  return h("button", { class: held ? "lp-button primary" : "lp-button", type: "button", onclick: act }, held ? t("Go on") : t("Pause the queue"));
}

/** The strip of the Jobs page: that a queue is paused; with one queue that has work the button that pauses it. */
export class Pause {
  element = h("div", { class: "pause", hidden: true });
  #asked = null;
  #pool = null;
  #works = false;

  /** Whether anything runs or waits. */
  works(open) {
    this.#works = open;
    this.#draw();
  }

  /** Look again, soon: at most twice a second. */
  read() {
    this.#asked ??= setTimeout(() => this.#read(), 500);
  }

  async #read() {
    this.#asked = null;
    try {
      this.#pool = await ask("live/pool");
      this.#draw();
    } catch {
      // The page says elsewhere that the gateway is away.
    }
  }

  #draw() {
    if (!this.#pool) return;
    const services = this.#pool.services.filter(({ type }) => type !== "Queue");
    const held = services.filter(stopped);
    const pausable = this.#works && services.length === 1 && this.#pool.may_change;
    const shown = held.length || !pausable ? held : services;
    const sign = JSON.stringify(shown.map(({ name, state }) => [name, stopped({ state })]));
    if (this.element.dataset.shows === sign) return;
    this.element.dataset.shows = sign;
    this.element.hidden = !shown.length;
    this.element.replaceChildren(...shown.map((service) => this.#line(service, services.length > 1)));
  }

  #line(service, several) {
    const said = several ? t("{name} is paused: what is queued waits.", { name: service.name }) : t("Paused: what is queued waits.");
    return h("div", {}, stopped(service) && h("span", {}, said), this.#pool.may_change && holding(service, () => this.read()));
  }
}

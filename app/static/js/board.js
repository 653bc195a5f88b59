// All tasks as the server tells of them, and who wants to know.

import { setClock } from "./format.js";
import { follow } from "./live.js";

export class Board {
  tasks = new Map();
  loaded = false;
  #listeners = [];

  /**
   * `listener(changed)` is called with a set of task ids, or null when everything is new; "pool" for instances,
   * {deleted: ids} for what is no more.
   */
  constructor(listener) {
    this.#listeners.push(listener);
    this.connection = follow(() => "board", (message) => this.#take(message));
  }

  #take(message) {
    if (message.now) setClock(message.now);
    if (message.event === "pool") return this.#tell("pool");
    if (message.event === "board") {
      // Older tasks that were asked for stay; what the server still tells of is replaced.
      for (const task of message.tasks) this.tasks.set(task.id, task);
      this.loaded = true;
      this.#tell(null);
    } else if (message.event === "deleted") {
      this.drop(message.ids);
    } else if (message.event === "tasks") {
      for (const task of message.tasks) this.tasks.set(task.id, task);
      this.#tell(new Set(message.tasks.map((task) => task.id)));
    }
  }

  /** These are no more. */
  drop(ids) {
    for (const id of ids) this.tasks.delete(id);
    this.#tell({ deleted: ids });
  }

  #tell(what) {
    for (const listener of this.#listeners) listener(what);
  }

  /** Newest first. */
  newest() {
    return [...this.tasks.values()].sort((a, b) => b.created_at - a.created_at || b.index - a.index);
  }
}

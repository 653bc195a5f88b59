// When a training that is not yet queued would start and how long it would take, from what the queue and the last
// trainings show. A guess, and said as one: another model or resolution has another pace.

import { isFinal } from "./dom.js";
import { now } from "./format.js";

const LAST = 5;

/** Seconds that `steps` take at the pace of the last trainings of a service; null when there were none. */
export function lasting(tasks, service, steps) {
  const paces = trainings(tasks, service)
    .filter((task) => task.progress?.seconds_per_step > 0)
    .sort((a, b) => b.created_at - a.created_at)
    .slice(0, LAST)
    .map((task) => task.progress.seconds_per_step)
    .sort((a, b) => a - b);
  return paces.length ? paces[Math.floor(paces.length / 2)] * steps : null;
}

/** How many wait or run before it, and seconds until its turn at the latest: null when nobody can tell. */
export function turn(tasks, service) {
  const open = trainings(tasks, service).filter((task) => !isFinal(task.state));
  const waiting = open.filter((task) => task.state === "waiting");
  if (!open.length) return { waiting: 0, running: 0, seconds: 0 };
  if (!waiting.length) {
    const left = open.map((task) => task.progress?.eta).filter(Number.isFinite);
    return { waiting: 0, running: open.length, seconds: left.length ? Math.min(...left) : null };
  }
  const starts = waiting.map((task) => task.expected_start).filter(Boolean);
  return { waiting: waiting.length, running: open.length - waiting.length, seconds: starts.length ? Math.max(0, Math.max(...starts) - now()) : null };
}

const trainings = (tasks, service) => tasks.filter((task) => task.kind !== "query" && (!service || task.service === service));

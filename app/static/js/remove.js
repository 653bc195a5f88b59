// Deleting jobs that have ended: what goes, what goes only if it is ticked, and how much room that gives back.

import { ask as question, h, toast } from "./dom.js";
import { size } from "./format.js";
import { ask, post } from "./live.js";
import { t, tn } from "./words.js";

const KINDS = {
  loras: (n) => tn(n, "1 LoRA or checkpoint", "{n} LoRAs and checkpoints"),
  pictures: (n) => tn(n, "1 picture", "{n} pictures"),
  states: (n) => tn(n, "1 file of states", "{n} files of states"),
  logs: (n) => tn(n, "1 log", "{n} logs"),
  jobs: (n) => tn(n, "1 other file", "{n} other files"),
};

const path = (id, what) => `live/tasks/${encodeURIComponent(id)}/${what}`;

/** Asks, and deletes one job; whether it is gone. */
export async function deleteJob(id) {
  const room = await ask(path(id, "room"));
  const wanted = await agreed(t("Delete this job?"), t("Its entry, its log and its curve are removed. This cannot be undone."), [room]);
  if (!wanted) return false;
  await remove(id, wanted);
  toast(t("Deleted."));
  return true;
}

/** The same for several that have failed; the ids of those that are gone. */
export async function deleteFailed(ids) {
  const found = await Promise.allSettled(ids.map((id) => ask(path(id, "room"))));
  const rooms = found.flatMap((each) => each.value ?? []);
  const title = tn(ids.length, "Delete this failed job?", "Delete {n} failed jobs?");
  const wanted = await agreed(title, t("Entries, logs and curves are removed. This cannot be undone."), rooms);
  if (!wanted) return [];
  const gone = [];
  for (const id of ids) {
    try {
      await remove(id, wanted);
      gone.push(id);
    } catch (error) {
      toast(error.message, true);
    }
  }
  if (gone.length) toast(tn(gone.length, "1 job deleted.", "{n} jobs deleted."));
  return gone;
}

/** Deletes; that somebody else was faster is as good. */
async function remove(id, wanted) {
  try {
    await post(path(id, "delete"), wanted);
  } catch (error) {
    if (error.kind !== "NotFound") throw error;
  }
}

/** What is to go, or null when it was not meant. */
async function agreed(title, detail, rooms) {
  const what = inWords(rooms);
  const bytes = rooms.flatMap((room) => room.parts).reduce((sum, part) => sum + part.bytes, 0);
  const [{ lora, lora_bytes } = {}] = rooms.length === 1 ? rooms : [];
  const files = what && box(t("Also the files: {what} ({size})", { what, size: size(bytes) }));
  const kept = lora && box(t("Also the finished LoRA {path} ({size})", { path: lora, size: size(lora_bytes) }));
  if (kept && files) {
    const follow = () => {
      kept.input.disabled = !files.input.checked;
      kept.input.checked &&= files.input.checked;
    };
    files.input.addEventListener("change", follow);
    follow();
  }
  const sure = await question(title, t("Delete"), detail, t("Cancel"), [files, kept].filter(Boolean).map(({ element }) => element));
  return sure ? { files: Boolean(files?.input.checked), lora: Boolean(kept?.input.checked) } : null;
}

function inWords(rooms) {
  const counts = Object.fromEntries(Object.keys(KINDS).map((kind) => [kind, 0]));
  for (const { kind, count } of rooms.flatMap((room) => room.parts)) counts[kind] += count;
  return Object.entries(counts)
    .filter(([, n]) => n)
    .map(([kind, n]) => KINDS[kind](n))
    .join(t(", "));
}

function box(text) {
  const input = h("input", { type: "checkbox" });
  return { input, element: h("label", { class: "also" }, input, h("span", {}, text)) };
}

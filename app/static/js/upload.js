// Files from a person to a folder: chosen or dropped, folders and archives too, with a bar.

import { h, root, say, toast } from "./dom.js";
import { size } from "./format.js";
import { post } from "./live.js";
import { said, t, tn, together } from "./words.js";

const TAKEN = /\.(png|jpe?g|webp|bmp|avif|txt|caption|cap|zip)$/i;
const AT_ONCE = 3;

const batchName = () => crypto.randomUUID?.() ?? `${Date.now()}-${Math.random().toString(36).slice(2)}`;

/** The files of a drop, those in dropped folders included. */
export async function dropped(transfer) {
  // Both have to be taken at once: a drop is empty as soon as its event is over.
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const files = [...transfer.files];
  if (!entries.some((entry) => entry.isDirectory)) return files;
  return (await Promise.all(entries.map(filesOf))).flat();
}

async function filesOf(entry) {
  if (entry.isFile) return [await new Promise((done, failed) => entry.file(done, failed))];
  const reader = entry.createReader();
  const found = [];
  // A reader gives a hundred entries at a time, and none at the end.
  for (;;) {
    const some = await new Promise((done, failed) => reader.readEntries(done, failed));
    if (!some.length) return found;
    found.push(...(await Promise.all(some.map(filesOf))).flat());
  }
}

/** Upload `files` into `folder`; how many pictures came, 0 when nothing did. */
export async function upload(files, folder) {
  const wanted = files.filter((file) => TAKEN.test(file.name));
  const left = files.length - wanted.length;
  if (!wanted.length) {
    if (files.length) toast(t("Nothing was taken: a data set takes pictures, .txt captions and zip archives of them."), true);
    return 0;
  }
  const batch = batchName();
  const bar = progress(wanted);
  try {
    const queue = [...wanted];
    const work = async () => {
      for (let file = queue.shift(); file; file = queue.shift()) await send(file, batch, bar);
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
    bar.say(t("Putting them in their place…"));
    const { pictures } = await post(`sets/take/${batch}?folder=${encodeURIComponent(folder)}`);
    toast(`${tn(pictures, "{n} picture added.", "{n} pictures added.")}${left ? ` ${tn(left, "{n} other file was left out.", "{n} other files were left out.")}` : ""}`);
    return pictures;
  } catch (error) {
    toast(together(error.message, t("The data set was left as it was.")), true);
    return 0;
  } finally {
    bar.close();
  }
}

/** XMLHttpRequest, because it alone tells how much has left. */
function send(file, batch, bar) {
  return new Promise((done, failed) => {
    const request = new XMLHttpRequest();
    request.open("POST", `${root}/sets/upload/${batch}?name=${encodeURIComponent(file.name)}`);
    request.upload.onprogress = (event) => bar.sent(file, event.loaded);
    request.onerror = () => failed(new Error(t("The connection was lost.")));
    request.onload = () => {
      if (request.status < 300) return done();
      try {
        failed(new Error(said(JSON.parse(request.responseText).message)));
      } catch {
        failed(new Error(t("lorapool answered {status}.", { status: request.status })));
      }
    };
    request.send(file);
  });
}

function progress(files) {
  const total = files.reduce((sum, file) => sum + file.size, 0) || 1;
  const known = new Map();
  const text = h("p", {}, tn(files.length, "Uploading {n} file…", "Uploading {n} files…"));
  const fill = h("i", {});
  const track = h("div", { class: "lp-track", role: "progressbar", "aria-label": t("Upload"), "aria-valuemin": "0", "aria-valuemax": "100" }, fill);
  const element = h("div", { class: "uploading lp-card lp-ui", role: "status" }, text, track);
  document.body.append(element);
  return {
    sent(file, bytes) {
      known.set(file, Math.min(bytes, file.size));
      const sent = [...known.values()].reduce((sum, each) => sum + each, 0);
      const share = Math.round((100 * sent) / total);
      fill.style.width = `${share}%`;
      track.setAttribute("aria-valuenow", share);
      say(text, tn(files.length, "Uploading {n} file: {sent} of {total}", "Uploading {n} files: {sent} of {total}", { sent: size(sent), total: size(total) }));
    },
    say: (words) => say(text, words),
    close: () => element.remove(),
  };
}

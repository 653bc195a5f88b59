// The connection to the server: opens by itself again, tells when it is lost, and resumes where it was.

import { root } from "./dom.js";
import { said, t } from "./words.js";

const PATIENCE = 25_000;
const losses = new Map();

/**
 * Follow `path()` (asked anew at each connection, so that it can hold cursors).
 * `onmessage` gets each message; answering false ends it.
 */
export function follow(path, onmessage) {
  let socket, timer, watchdog;
  let attempt = 0;
  let ended = false;

  const connect = () => {
    const url = new URL(`${root}/live/${path()}`, location.href);
    url.protocol = url.protocol.replace("http", "ws");
    socket = new WebSocket(url);
    socket.onmessage = (event) => {
      attempt = 0;
      report(follower, null);
      watch();
      const message = JSON.parse(event.data);
      if (message.event === "ping") return;
      if (message.event === "gateway") report(gatewayOf(follower), message.state === "lost" ? said(message.reason) : null);
      else if (onmessage(message) === false) stop();
    };
    socket.onclose = again;
    watch();
  };
  const watch = () => {
    clearTimeout(watchdog);
    watchdog = setTimeout(() => socket.close(), PATIENCE);
  };
  const again = () => {
    clearTimeout(watchdog);
    clearTimeout(timer);
    if (ended) return;
    if (attempt > 0) report(follower, t("The connection to lorapool is lost. Trainings go on; this page tries again."));
    timer = setTimeout(connect, Math.min(5000, 250 * 2 ** attempt++) * (0.8 + 0.4 * Math.random()));
  };
  const hurry = () => {
    if (!ended && socket.readyState > WebSocket.OPEN) (attempt = 0), clearTimeout(timer), connect();
  };
  const stop = () => {
    ended = true;
    clearTimeout(timer);
    clearTimeout(watchdog);
    removeEventListener("online", hurry);
    report(follower, null);
    report(gatewayOf(follower), null);
    socket.close();
  };
  const follower = { stop };
  addEventListener("online", hurry);
  connect();
  return follower;
}

const gateways = new WeakMap();

function gatewayOf(follower) {
  if (!gateways.has(follower)) gateways.set(follower, {});
  return gateways.get(follower);
}

function report(who, loss) {
  if (loss) losses.set(who, loss);
  else if (!losses.delete(who)) return;
  const banner = document.querySelector(".lp-banner");
  if (!banner) return;
  const [text] = losses.values();
  banner.hidden = !text;
  banner.textContent = text ?? "";
}

/** Ask the server; an error is thrown with the server's own words, and the `kind` that it has there. */
export async function ask(path, options) {
  let answer;
  try {
    answer = await fetch(`${root}/${path}`, options);
  } catch {
    throw new Error(t("lorapool does not answer. Nothing was changed; try again in a moment."));
  }
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw Object.assign(new Error(said(body.message) ?? t("lorapool answered {status}.", { status: answer.status })), { kind: body.error });
  return body;
}

/** Post to one of the routes. */
export const post = (path, body) =>
  ask(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body ?? {}) });

export const fileUrl = (id, path) =>
  `${root}/live/tasks/${encodeURIComponent(id)}/files/${path.split("/").map(encodeURIComponent).join("/")}`;

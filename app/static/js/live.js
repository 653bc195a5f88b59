// The connection to the server: opens by itself again, tells when it is lost, and resumes where it was.

import { capital, h, root } from "./dom.js";
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
      if (attempt > 0) loggedIn(), report(gatewayOf(follower), null);
      attempt = 0;
      report(follower, null);
      watch();
      const message = JSON.parse(event.data);
      if (message.event === "ping") return;
      if (message.event === "gateway") report(gatewayOf(follower), message.state === "lost" ? said(message.reason) : null);
      else if (onmessage(message) === false) stop();
      // It may be the login that is over, not the gateway that is away.
      if (message.event === "gateway" && message.state === "lost") lookWhether();
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
    if (attempt === 1) lookWhether();
    if (attempt > 0) report(follower, t("The connection to lorapool is lost. Trainings go on; this page tries again."));
    timer = setTimeout(connect, Math.min(5000, 250 * 2 ** attempt++) * (0.8 + 0.4 * Math.random()));
  };
  const hurry = () => {
    if (!ended && socket.readyState > WebSocket.OPEN) (attempt = 0), clearTimeout(timer), connect();
  };
  const leave = () => socket.close();
  const stop = () => {
    ended = true;
    leaves.delete(leave);
    clearTimeout(timer);
    clearTimeout(watchdog);
    removeEventListener("online", hurry);
    report(follower, null);
    report(gatewayOf(follower), null);
    socket.close();
  };
  const follower = { stop };
  addEventListener("online", hurry);
  leaves.add(leave);
  connect();
  return follower;
}

/** What ends each connection: who logs in again, in whichever tab, gets new ones. */
const leaves = new Set();

const gateways = new WeakMap();

function gatewayOf(follower) {
  if (!gateways.has(follower)) gateways.set(follower, {});
  return gateways.get(follower);
}

function report(who, loss) {
  if (loss) losses.set(who, loss);
  else if (!losses.delete(who)) return;
  drawBanner();
}

function drawBanner() {
  const banner = document.querySelector(".lp-banner");
  if (!banner) return;
  const [text] = losses.values();
  banner.hidden = !text && !loggedOut;
  if (!loggedOut) return void (banner.textContent = text ?? "");
  const back = location.pathname.slice(root.length) + location.search;
  banner.replaceChildren(t("You are logged out. What this page shows stays until you leave it."), " ", h("a", { href: `${root}/login?next=${encodeURIComponent(back)}` }, t("Log in")));
}

/** Whether nobody is logged in any more: then the banner leads to the login, and back. */
let loggedOut = false;

function loggedIn() {
  if (!loggedOut) return;
  loggedOut = false;
  drawBanner();
}

function noteLogin(answer) {
  if (answer.status !== 401 || !answer.headers.has("x-lorapool-login")) return;
  if (!loggedOut) for (const leave of leaves) leave();
  loggedOut = true;
  drawBanner();
}

/** A browser does not tell why a connection was refused; an answer does. */
async function lookWhether() {
  try {
    noteLogin(await fetch(`${root}/live/tasks?limit=1`));
  } catch {
    // Then the server is away, which the banner says.
  }
}

/** Ask the server; an error is thrown with the server's own words, and the `kind` that it has there. */
export async function ask(path, options) {
  let answer;
  try {
    answer = await fetch(`${root}/${path}`, options);
  } catch {
    throw new Error(t("lorapool does not answer. Nothing was changed; try again in a moment."));
  }
  noteLogin(answer);
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw Object.assign(new Error(capital(said(body.message)) || t("lorapool answered {status}.", { status: answer.status })), { kind: body.error });
  return body;
}

/** Post to one of the routes. */
export const post = (path, body) =>
  ask(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body ?? {}) });

export const fileUrl = (id, path) =>
  `${root}/live/tasks/${encodeURIComponent(id)}/files/${path.split("/").map(encodeURIComponent).join("/")}`;

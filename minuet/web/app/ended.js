/** How a call ended, and what may come after it. */

import { byId } from "./dom.js";
import { say, show } from "./screens.js";
import { ending } from "./words.js";

/**
 * @typedef {import("../sdk/index.js").Call} Call
 * @typedef {{reason: string, durationMs: number}} End
 */

/**
 * @param {Call} call
 * @param {End} end
 * @param {{byUs: boolean, chatOpen: boolean}} more we hung up ourselves; the two can write to each other already
 */
export function showEnding(call, end, { byUs, chatOpen }) {
  const [title, text] = ending(call, end, byUs);
  const joined = call.connected || end.reason === "connected";
  byId("ended-title").textContent = title;
  byId("ended-text").textContent = text;
  byId("ended-error").hidden = true;
  byId("ended-pair").className = joined ? "pair pair--joined" : "pair pair--parted";
  // One button is the loudest: whom one has just met comes before somebody else.
  const write = joined && chatOpen;
  byId("write").hidden = !write;
  byId("write-label").textContent = `Write to ${call.peer.first_name}`;
  for (const look of ["button--primary", "button--big"]) byId("again").classList.toggle(look, !write);
  byId("again").classList.toggle("button--quiet", write);
  show("ended", `${title} – Minuet`);
  say(`${title}. ${text}`);
}

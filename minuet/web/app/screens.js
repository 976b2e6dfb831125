/** Which screen is shown, where the focus is, and what is said aloud. */

import { byId, make } from "./dom.js";

const TOAST_MS = 5_000;

/** @typedef {"welcome"|"rejoin"|"searching"|"call"|"deciding"|"ended"|"chats"|"stopped"} ScreenName */

/** @type {ScreenName} */
let current = "welcome";

/** @returns {ScreenName} */
export function screen() {
  return current;
}

/**
 * Shows a screen and moves the focus to its heading, so that keyboard and screen reader are where the eye is.
 *
 * @param {ScreenName} name
 * @param {string} [title] of the document
 */
export function show(name, title = "Minuet") {
  document.title = title;
  if (name === current) return;
  for (const note of document.querySelectorAll("[data-passing]")) note.remove();
  for (const dialog of document.querySelectorAll("dialog[open]")) /** @type {HTMLDialogElement} */ (dialog).close("away");
  byId(`screen-${current}`).hidden = true;
  const next = byId(`screen-${name}`);
  next.hidden = false;
  current = name;
  document.body.dataset.screen = name;
  scrollTo(0, 0);
  /** @type {HTMLElement | null} */ (next.querySelector("h1"))?.focus({ preventScroll: true });
}

/** Says something to those who do not see it. @param {string} text */
export function say(text) {
  // The same words twice in a row are news only if the element was empty in between.
  const place = byId("say");
  place.textContent = "";
  setTimeout(() => (place.textContent = text), 50);
}

/** A word about what goes on at this screen: it goes by itself, and with the screen. @param {string} text */
export function passing(text) {
  toast(text).dataset.passing = "";
}

/** A short word that goes by itself. @param {string} text @param {"plain"|"joy"} [mood] */
export function toast(text, mood = "plain") {
  const place = byId("toasts");
  const note = make("p", mood === "joy" ? "toast toast--joy" : "toast", text);
  note.dataset.testid = "toast";
  place.replaceChildren(note);
  say(text);
  setTimeout(() => note.remove(), TOAST_MS);
  return note;
}

/** Puts an initial wherever the page shows one. @param {"self"|"peer"} who @param {string} name */
export function setInitial(who, name) {
  const initial = [...name.trim()][0]?.toLocaleUpperCase() ?? "";
  for (const place of document.querySelectorAll(`[data-initial-of="${who}"]`)) place.textContent = initial;
}

/** The sheets: who is seen, what is hidden, and safety. Each opens with a call and resolves with what was chosen. */

import { byId } from "./dom.js";
import { addressLabel, addressMeaning } from "./words.js";

/** @typedef {import("../sdk/index.js").Call} Call */

/**
 * Shows a dialog and waits for it to close.
 *
 * @param {string} id
 * @returns {Promise<string>} the value of the button pressed; empty when it was dismissed
 */
function ask(id) {
  const dialog = /** @type {HTMLDialogElement} */ (byId(id));
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue), { once: true }));
}

/**
 * Who shall be seen?
 *
 * @param {Call} call
 * @returns {Promise<"both"|"receive"|"no"|"">} empty when the sheet was dismissed: no answer at all
 */
export async function askDirection(call) {
  const name = call.peer.first_name;
  const answering = call.pending.video !== null && !call.pending.video.mine;
  byId("dialog-video-title").textContent = answering ? `${name} asks for video` : `Invite ${name} to video?`;
  byId("dialog-video-text").textContent = answering ? "Whatever you choose, your voices go on." : `${name} decides whether to turn the camera on.`;
  byId("direction-receive-title").textContent = `Only ${name}`;
  byId("direction-receive-text").textContent = `You see ${name}; ${name} does not see you.`;
  byId("video-approve").textContent = answering ? "Allow video" : "Invite";
  byId("video-no").textContent = answering ? "Not now" : "Cancel";
  const choice = await ask("dialog-video");
  if (choice === "approve") {
    const checked = /** @type {HTMLInputElement} */ (document.querySelector("input[name=direction]:checked"));
    return checked.value === "receive" ? "receive" : "both";
  }
  return choice === "no" && answering ? "no" : "";
}

/** Closes the sheet about video, if what it asks about is no more. */
export function closeDirection() {
  const dialog = /** @type {HTMLDialogElement} */ (byId("dialog-video"));
  if (dialog.open) dialog.close("away");
}

/** What is hidden from the other side, and what is not. @param {Call} call */
export function tellAddress(call) {
  const [text, more] = addressMeaning(call.addressHidden, call.peer.first_name);
  byId("address-title").textContent = addressLabel(call.addressHidden);
  byId("address-text").textContent = text;
  byId("address-more").textContent = more;
  void ask("dialog-address");
}

/**
 * Block, report, delete the conversation, or none of it.
 *
 * @param {string} name
 * @param {"call"|"chat"} where
 * @returns {Promise<{act: "block"} | {act: "remove"} | {act: "report", category: any, note: string} | {act: "none"}>}
 */
export async function askSafety(name, where) {
  byId("remove-row").hidden = where !== "chat";
  byId("block-hint").textContent =
    where === "chat" ? "You will never be matched again, and this conversation ends. Nobody is told why." : "You will never be matched again, and the call ends. Nobody is told why.";
  byId("safety-text").textContent = `About ${name}. ${name} is told nothing of what you do here.`;
  byId("block-label").textContent = `Block ${name}`;
  const note = /** @type {HTMLTextAreaElement} */ (byId("note"));
  const choice = await ask("dialog-safety");
  const words = note.value.trim();
  if (choice === "report") {
    note.value = "";
    return { act: "report", category: /** @type {HTMLSelectElement} */ (byId("category")).value, note: words };
  }
  return { act: choice === "block" || choice === "remove" ? choice : "none" };
}

/** Really? @param {string} name */
export async function confirmRemoval(name) {
  byId("remove-title").textContent = `Delete the conversation with ${name}?`;
  byId("remove-text").textContent = `It goes for both of you, and ${name} is not told. You find each other again only by chance.`;
  return (await ask("dialog-remove")) === "remove";
}

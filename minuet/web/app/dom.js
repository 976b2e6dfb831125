/** Elements by id. A missing one is a mistake in the page, and says which. */

/**
 * @template {Element} [T=HTMLElement]
 * @param {string} id
 * @returns {T}
 */
export function byId(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`the page has no #${id}`);
  return /** @type {any} */ (element);
}

/**
 * A new element with text. Text from people only ever enters the page here or by `textContent`.
 *
 * @param {string} tag
 * @param {string} className
 * @param {string} [text]
 */
export function make(tag, className, text = "") {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text;
  return element;
}

/** Changes the symbol that an icon shows. @param {string} id of its `use` @param {string} symbol */
export function setIcon(id, symbol) {
  byId(id).setAttribute("href", `#i-${symbol}`);
}

/** The user would rather not see things move. */
export const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");

/** `2:05` @param {number} ms */
export function minutes(ms) {
  const seconds = Math.max(0, Math.ceil(ms / 1_000));
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

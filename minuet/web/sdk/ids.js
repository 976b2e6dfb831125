/** A name that nobody else has chosen. */
export function randomId() {
  // crypto.randomUUID is hidden from pages that are not secure; getRandomValues is not.
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

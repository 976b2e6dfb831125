/**
 * Time and chance, as one argument, so that tests own both.
 *
 * @typedef {object} Runtime
 * @property {() => number} now milliseconds since the Unix epoch, by this device's clock
 * @property {() => number} random uniform in [0, 1)
 * @property {(callback: () => void, ms: number) => unknown} setTimeout
 * @property {(handle: any) => void} clearTimeout
 */

/** @type {Runtime} */
export const systemRuntime = {
  now: () => Date.now(),
  random: () => Math.random(),
  setTimeout: (callback, ms) => globalThis.setTimeout(callback, ms),
  clearTimeout: (handle) => globalThis.clearTimeout(handle),
};

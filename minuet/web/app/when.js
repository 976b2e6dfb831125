/** When something was said, in words as short as the day allows. */

const TIME = new Intl.DateTimeFormat("en", { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const DAY = new Intl.DateTimeFormat("en", { weekday: "long", day: "numeric", month: "long" });
const SHORT_DAY = new Intl.DateTimeFormat("en", { weekday: "short" });
const DATE = new Intl.DateTimeFormat("en", { day: "numeric", month: "short" });
const DAY_MS = 86_400_000;

/** `14:05` @param {number} at */
export function time(at) {
  return TIME.format(at);
}

/** Whole days since then, by this device's calendar. @param {number} at @param {number} now */
export function daysSince(at, now) {
  const midnight = (/** @type {number} */ moment) => new Date(moment).setHours(0, 0, 0, 0);
  return Math.round((midnight(now) - midnight(at)) / DAY_MS);
}

/** The heading over a day's messages. @param {number} at @param {number} now */
export function day(at, now) {
  const days = daysSince(at, now);
  return days <= 0 ? "Today" : days === 1 ? "Yesterday" : DAY.format(at);
}

/** For a list: today the time, then the day, then the date. @param {number} at @param {number} now */
export function shortly(at, now) {
  const days = daysSince(at, now);
  return days <= 0 ? time(at) : days < 7 ? SHORT_DAY.format(at) : DATE.format(at);
}

/**
 * Who this tab is. The demo makes a throw-away account over REST and keeps it in sessionStorage, so that two
 * tabs are two people and a reloaded tab is still the same one.
 */

const PERSONA_KEY = "minuet.persona";
const DEVICE_KEY = "minuet.device";
const TOKENS_KEY = "minuet.tokens";
const CHAT_KEY = "minuet.chat";
const TWIN_ANSWER_MS = 150;

const NAMES = {
  female: ["Maya", "Lena", "Sofia", "Amara", "Ines", "Yuki", "Clara", "Noor", "Freya", "Elif"],
  male: ["Leo", "Jonas", "Mateo", "Kofi", "Emil", "Haru", "Nils", "Omar", "Luca", "Ravi"],
  other: ["Robin", "Sascha", "Kim", "Alex", "Sam", "Charlie", "Toni", "Jules", "Noa", "Rio"],
};

/**
 * @typedef {"female"|"male"|"other"} Gender
 * @typedef {{first_name: string, gender: Gender, age: number}} Person who somebody is; a change of it is a new account
 * @typedef {Person & {intent: string, sides: Gender[]}} Persona
 */

/** @returns {Persona | null} */
export function remembered() {
  const kept = sessionStorage.getItem(PERSONA_KEY);
  return kept && sessionStorage.getItem(TOKENS_KEY) ? JSON.parse(kept) : null;
}

/** @param {Persona} persona */
export function remember(persona) {
  sessionStorage.setItem(PERSONA_KEY, JSON.stringify(persona));
}

export function forget() {
  for (const key of [PERSONA_KEY, DEVICE_KEY, TOKENS_KEY, CHAT_KEY]) sessionStorage.removeItem(key);
}

export function deviceId() {
  const kept = sessionStorage.getItem(DEVICE_KEY);
  if (kept) return kept;
  const made = `web-${hex(12)}`;
  sessionStorage.setItem(DEVICE_KEY, made);
  return made;
}

/** @param {Gender} [gender] @returns {Person} */
export function surprise(gender) {
  const chosen = gender ?? pick(/** @type {Gender[]} */ (["female", "male"]));
  return { first_name: pick(NAMES[chosen]), gender: chosen, age: 22 + Math.floor(Math.random() * 18) };
}

/** @param {Person} person @returns {import("../sdk/rest.js").Registration} */
export function registration({ first_name, gender, age }) {
  const birth = new Date();
  birth.setUTCFullYear(birth.getUTCFullYear() - age);
  // A month past the birthday, so that no time zone makes anybody a year younger.
  birth.setUTCDate(birth.getUTCDate() - 30);
  return {
    email: `guest-${hex(10)}@example.com`,
    password: hex(16),
    first_name,
    gender,
    birth_date: birth.toISOString().slice(0, 10),
    languages: [...new Set(navigator.languages.map((language) => language.split("-")[0].toLowerCase()))].slice(0, 4),
    locale: navigator.language,
  };
}

/**
 * A duplicated tab starts with a copy of sessionStorage. True when another tab already is who this one thinks it is;
 * from then on this tab answers for itself.
 *
 * @returns {Promise<boolean>}
 */
export async function hasTwin() {
  const channel = new BroadcastChannel("minuet-identity");
  const tab = hex(8);
  const twin = await new Promise((resolve) => {
    channel.onmessage = ({ data }) => {
      if (data.type === "mine" && data.device === sessionStorage.getItem(DEVICE_KEY) && data.to === tab) resolve(true);
    };
    const device = sessionStorage.getItem(DEVICE_KEY);
    if (!device) resolve(false);
    else channel.postMessage({ type: "whose", device, from: tab });
    setTimeout(() => resolve(false), TWIN_ANSWER_MS);
  });
  channel.onmessage = ({ data }) => {
    if (data.type === "whose" && data.device === sessionStorage.getItem(DEVICE_KEY)) channel.postMessage({ type: "mine", device: data.device, to: data.from });
  };
  return twin;
}

/** @template T @param {T[]} list @returns {T} */
function pick(list) {
  return list[Math.floor(Math.random() * list.length)];
}

/** @param {number} bytes */
function hex(bytes) {
  return [...crypto.getRandomValues(new Uint8Array(bytes))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

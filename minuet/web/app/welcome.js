/** The first screen's form: who one is and what one is here for. */

import { byId } from "./dom.js";
import { surprise } from "./identity.js";
import { say } from "./screens.js";

/** @typedef {import("./identity.js").Persona} Persona */

export class WelcomeForm {
  #form = /** @type {HTMLFormElement} */ (byId("welcome-form"));
  #button = /** @type {HTMLButtonElement} */ (byId("start"));

  /** @param {(persona: Persona) => void} onStart */
  constructor(onStart) {
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      const persona = this.#read();
      if (persona) onStart(persona);
    });
    byId("surprise").addEventListener("click", () => {
      const person = surprise();
      this.fill(person);
      say(`You are ${person.first_name}, ${person.age}`);
    });
  }

  /** @param {Partial<Persona> | null} persona */
  fill(persona) {
    if (!persona) return;
    this.#input("name").value = persona.first_name ?? "";
    this.#input("age").value = String(persona.age ?? "");
    this.#check("gender", [persona.gender]);
    if (persona.intent) this.#check("intent", [persona.intent]);
    if (persona.sides) this.#check("sides", persona.sides);
    this.#complain("", []);
  }

  /** @param {string} label what is being done */
  busy(label) {
    this.#complain("", []);
    byId("start-label").textContent = label;
    this.#button.setAttribute("aria-disabled", "true");
    this.#button.dataset.busy = "";
  }

  ready() {
    byId("start-label").textContent = "Start talking";
    this.#button.removeAttribute("aria-disabled");
    delete this.#button.dataset.busy;
  }

  /** @param {string} text */
  fail(text) {
    this.#complain(text, []);
  }

  /** @returns {Persona | null} null when something is missing, which is then said */
  #read() {
    const data = new FormData(this.#form);
    const first_name = String(data.get("first_name") ?? "").trim();
    const age = Number(data.get("age"));
    const gender = data.get("gender");
    if (!first_name) return this.#complain("What shall we call you?", ["name"]);
    if (!Number.isInteger(age) || age < 18 || age > 99) return this.#complain("You have to be 18 or older.", ["age"]);
    if (!gender) return this.#complain("Please choose who you are.", ["gender"]);
    return {
      first_name,
      age,
      gender: /** @type {Persona["gender"]} */ (gender),
      intent: String(data.get("intent")),
      sides: /** @type {Persona["sides"]} */ (data.getAll("sides")),
    };
  }

  /** @param {string} text @param {string[]} fields @returns {null} */
  #complain(text, fields) {
    const alert = byId("welcome-error");
    alert.textContent = text;
    alert.hidden = text === "";
    for (const id of ["name", "age"]) this.#input(id).setAttribute("aria-invalid", String(fields.includes(id)));
    if (fields[0] === "gender") /** @type {HTMLElement | null} */ (this.#form.querySelector("[name=gender]"))?.focus();
    else if (fields[0]) byId(fields[0]).focus();
    return null;
  }

  /** @param {string} id */
  #input(id) {
    return /** @type {HTMLInputElement} */ (byId(id));
  }

  /** @param {string} name @param {Array<string | undefined>} values */
  #check(name, values) {
    for (const input of /** @type {NodeListOf<HTMLInputElement>} */ (this.#form.querySelectorAll(`[name=${name}]`))) {
      input.checked = values.includes(input.value);
    }
  }
}

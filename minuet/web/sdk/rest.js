/**
 * Accounts over REST, and the tokens they give: kept, renewed before they run out, renewed once however many
 * ask at the same moment (the server revokes a refresh token that is used twice).
 */

import { MinuetError } from "./errors.js";
import { systemRuntime } from "./runtime.js";

const STORAGE_KEY = "minuet.tokens";
// A token this near its end is renewed first: it has to last through the handshake.
const MARGIN_MS = 30_000;
const TIMEOUT_MS = 15_000;

/**
 * @typedef {object} Registration
 * @property {string} email
 * @property {string} password
 * @property {string} first_name
 * @property {"female"|"male"|"other"} gender
 * @property {string} birth_date `YYYY-MM-DD`; 18 or older
 * @property {string[]} [languages]
 * @property {string} [region]
 * @property {string} [locale]
 * @property {string} [terms_version]
 * @property {string} [privacy_version]
 *
 * @typedef {{access_token: string, refresh_token: string, expires_at?: number}} Tokens
 * @typedef {{items: any[], next: string | null, more: boolean}} Page `next` is the cursor of the next one
 * @typedef {Pick<Storage, "getItem"|"setItem"|"removeItem">} TokenStorage
 */

/**
 * @typedef {object} RestOptions
 * @property {string} baseUrl `https://host`
 * @property {TokenStorage} [storage] where tokens live between page loads; memory only by default
 * @property {typeof globalThis.fetch} [fetch]
 * @property {(reason: import("./connection.js").TokenReason) => string | Promise<string>} [getToken] for tokens of another
 *     issuer, asked as long as nobody is signed in here
 * @property {import("./runtime.js").Runtime} [runtime]
 */

export class Rest {
  #baseUrl;
  #storage;
  #fetch;
  #runtime;
  #getToken;
  /** @type {Tokens | null} */
  #tokens = null;
  /** @type {Promise<Tokens> | null} */
  #refreshing = null;

  /** @param {RestOptions} options */
  constructor({ baseUrl, storage, fetch, runtime, getToken }) {
    this.#baseUrl = baseUrl.replace(/\/$/, "");
    this.#storage = storage;
    this.#getToken = getToken;
    this.#fetch = fetch ?? globalThis.fetch.bind(globalThis);
    this.#runtime = runtime ?? systemRuntime;
    const kept = storage?.getItem(STORAGE_KEY);
    if (kept) this.#tokens = JSON.parse(kept);
  }

  get signedIn() {
    return this.#tokens !== null;
  }

  /** Makes an account and signs in. @param {Registration} registration */
  async register(registration) {
    return this.#signIn("/auth/register", registration);
  }

  /** @param {{email: string, password: string}} credentials */
  async login(credentials) {
    return this.#signIn("/auth/login", credentials);
  }

  /** Signs out, here and at the server. */
  async logout() {
    const tokens = this.#tokens;
    this.#keep(null);
    if (tokens) await this.#call("POST", "/auth/logout", undefined, tokens.access_token);
  }

  /** Forgets the tokens without telling the server. */
  forget() {
    this.#keep(null);
  }

  /** The account signed in. */
  async me() {
    return this.request("GET", "/auth/me");
  }

  /**
   * An access token that still lasts. `force` asks for a new one in any case.
   *
   * @param {boolean} [force]
   * @throws {MinuetError} `unauthenticated` when signed out, or the family of tokens was revoked
   */
  async accessToken(force = false) {
    if (!this.#tokens) throw new MinuetError("unauthenticated", "not signed in");
    const expiresAt = this.#tokens.expires_at ?? expiryOf(this.#tokens.access_token);
    if (force || expiresAt - MARGIN_MS <= this.#runtime.now()) {
      this.#refreshing ??= this.#refresh(this.#tokens.refresh_token).finally(() => {
        this.#refreshing = null;
      });
      return (await this.#refreshing).access_token;
    }
    return this.#tokens.access_token;
  }

  /**
   * Any resource under `/api/v1`, signed in.
   *
   * @param {string} method
   * @param {string} path such as `/history/interactions`
   * @param {object} [body]
   * @returns {Promise<any>} the `data` of the answer
   */
  async request(method, path, body) {
    return (await this.#signedIn(method, path, body)).data;
  }

  /**
   * A page of a list under `/api/v1`.
   *
   * @param {string} path with its query
   * @returns {Promise<Page>}
   */
  async list(path) {
    const { data, meta } = await this.#signedIn("GET", path);
    return { items: data, next: meta?.next_cursor ?? null, more: meta?.has_more === true };
  }

  /** @param {string} method @param {string} path @param {object} [body] */
  async #signedIn(method, path, body) {
    try {
      return await this.#call(method, path, body, await this.#token(false));
    } catch (error) {
      // The server's clock may be ahead of ours: one more try with a fresh token.
      if (!(error instanceof MinuetError) || error.code !== "token_expired") throw error;
      return this.#call(method, path, body, await this.#token(true));
    }
  }

  /** @param {boolean} force */
  async #token(force) {
    return !this.#tokens && this.#getToken ? this.#getToken(force ? "expired" : "connect") : this.accessToken(force);
  }

  /** @param {string} path @param {object} body */
  async #signIn(path, body) {
    const { data } = await this.#call("POST", path, body);
    this.#keep(tokensOf(data));
    return data.user;
  }

  /** @param {string} refreshToken @returns {Promise<Tokens>} */
  async #refresh(refreshToken) {
    try {
      const tokens = tokensOf((await this.#call("POST", "/auth/refresh", { refresh_token: refreshToken })).data);
      this.#keep(tokens);
      return tokens;
    } catch (error) {
      if (error instanceof MinuetError && !error.retryable) this.#keep(null);
      throw error;
    }
  }

  /** @param {Tokens | null} tokens */
  #keep(tokens) {
    this.#tokens = tokens;
    if (tokens) this.#storage?.setItem(STORAGE_KEY, JSON.stringify(tokens));
    else this.#storage?.removeItem(STORAGE_KEY);
  }

  /** @param {string} method @param {string} path @param {object} [body] @param {string} [token] @returns {Promise<any>} */
  async #call(method, path, body, token) {
    /** @type {Record<string, string>} */
    const headers = { Accept: "application/json" };
    if (body) headers["Content-Type"] = "application/json";
    if (token) headers.Authorization = `Bearer ${token}`;
    let response;
    try {
      response = await this.#fetch(`${this.#baseUrl}/api/v1${path}`, {
        method,
        headers,
        body: body ? JSON.stringify(body) : undefined,
        credentials: "omit",
        cache: "no-store",
        signal: AbortSignal.timeout(TIMEOUT_MS),
      });
    } catch (cause) {
      throw new MinuetError("network", "the server could not be reached", { retryable: true, cause });
    }
    const answer = await response.json().catch(() => null);
    if (response.ok && answer?.success) return answer;
    throw failureOf(response, answer?.error);
  }
}

/** @param {any} data @returns {Tokens} */
function tokensOf({ access_token, refresh_token, expires_at }) {
  return { access_token, refresh_token, expires_at };
}

/** @param {Response} response @param {any} body */
function failureOf(response, body) {
  const retryAfterS = Number(response.headers.get("Retry-After") ?? NaN);
  return new MinuetError(body?.code ?? (response.status >= 500 ? "unavailable" : "internal"), body?.message, {
    retryable: body?.retryable ?? (response.status === 429 || response.status >= 500),
    retryAfterMs: Number.isFinite(retryAfterS) ? retryAfterS * 1_000 : undefined,
    details: body?.details,
  });
}

/** When a JWT runs out, in milliseconds; 0 where it cannot be read. @param {string} token */
function expiryOf(token) {
  try {
    const payload = token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/");
    return JSON.parse(atob(payload)).exp * 1_000;
  } catch {
    return 0;
  }
}

/** Accounts and their tokens. */

import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";

import { Rest } from "../../minuet/web/sdk/index.js";
import { FakeRuntime, settle } from "./fakes/runtime.mjs";

/** A server of accounts: refresh tokens work once. */
class FakeAccounts {
  requests = [];
  /** Answers to give first, instead of the usual ones. */
  next = [];
  #issued = 0;
  #valid = new Set();

  constructor(runtime) {
    this.fetch = async (url, { method, headers, body }) => {
      const path = url.replace("https://minuet.test/api/v1", "");
      const data = body ? JSON.parse(body) : undefined;
      this.requests.push([method, path, data, headers.Authorization]);
      await settle();
      const forced = this.next.shift();
      if (forced) return forced;
      if (path === "/auth/refresh" && !this.#valid.delete(data.refresh_token)) return refuse(401, "unauthenticated");
      if (path.startsWith("/auth/") && method === "POST") return accept({ user: { first_name: "Maya" }, ...this.#issue(runtime.now()) });
      return accept({ path });
    };
  }

  #issue(now) {
    this.#issued += 1;
    this.#valid.add(`refresh-${this.#issued}`);
    return { access_token: `access-${this.#issued}`, refresh_token: `refresh-${this.#issued}`, expires_at: now + 900_000 };
  }
}

function accept(data) {
  return Response.json({ success: true, data, meta: {}, request_id: "r" });
}

function refuse(status, code, headers = {}) {
  return Response.json({ success: false, error: { code, message: code, request_id: "r" } }, { status, headers });
}

const MAYA = { email: "m@example.com", password: "x", first_name: "Maya", gender: "female", birth_date: "1996-05-01" };

let runtime;
let accounts;
let kept;
let rest;

beforeEach(() => {
  runtime = new FakeRuntime();
  accounts = new FakeAccounts(runtime);
  kept = new Map();
  rest = makeRest();
});

function makeRest() {
  const storage = { getItem: (key) => kept.get(key) ?? null, setItem: (key, value) => kept.set(key, value), removeItem: (key) => kept.delete(key) };
  return new Rest({ baseUrl: "https://minuet.test/", storage, fetch: accounts.fetch, runtime });
}

describe("an account", () => {
  test("is made, and signed in", async () => {
    const user = await rest.register(MAYA);

    assert.deepEqual(accounts.requests, [["POST", "/auth/register", MAYA, undefined]]);
    assert.equal(user.first_name, "Maya");
    assert.equal(await rest.accessToken(), "access-1");
  });

  test("is still signed in after the page was loaded again", async () => {
    await rest.register(MAYA);

    assert.equal(await makeRest().accessToken(), "access-1");
  });

  test("that is forgotten has no token", async () => {
    await rest.register(MAYA);
    rest.forget();

    await assert.rejects(rest.accessToken(), { code: "unauthenticated", retryable: false });
    assert.equal(kept.size, 0);
  });

  test("that logs out tells the server", async () => {
    await rest.register(MAYA);
    await rest.logout();

    assert.deepEqual(accounts.requests.at(-1), ["POST", "/auth/logout", undefined, "Bearer access-1"]);
    assert.equal(rest.signedIn, false);
  });
});

describe("an access token", () => {
  test("is renewed before it runs out", async () => {
    await rest.register(MAYA);
    await runtime.advance(869_999);
    assert.equal(await rest.accessToken(), "access-1");
    await runtime.advance(1);

    assert.equal(await rest.accessToken(), "access-2");
  });

  test("is renewed once, however many ask for it at the same moment", async () => {
    await rest.register(MAYA);
    await runtime.advance(900_000);
    const all = await Promise.all([rest.accessToken(), rest.accessToken(), rest.accessToken(true)]);

    assert.deepEqual(all, ["access-2", "access-2", "access-2"]);
    assert.equal(accounts.requests.filter(([, path]) => path === "/auth/refresh").length, 1);
  });

  test("keeps its refresh token when the server cannot be reached", async () => {
    await rest.register(MAYA);
    accounts.next.push(refuse(503, "unavailable"));
    await assert.rejects(rest.accessToken(true), { code: "unavailable", retryable: true });

    assert.equal(await rest.accessToken(true), "access-2");
  });

  test("is gone when the server has revoked it", async () => {
    await rest.register(MAYA);
    accounts.next.push(refuse(401, "unauthenticated"));
    await assert.rejects(rest.accessToken(true), { code: "unauthenticated", retryable: false });

    assert.equal(rest.signedIn, false);
  });

  test("that the server takes for expired is renewed, and the request made again", async () => {
    await rest.register(MAYA);
    accounts.next.push(refuse(401, "token_expired"));
    const data = await rest.request("GET", "/profile");

    assert.deepEqual(data, { path: "/profile" });
    assert.equal(accounts.requests.at(-1)[3], "Bearer access-2");
  });
});

describe("a failure", () => {
  test("carries the server's code and how long to wait", async () => {
    accounts.next.push(refuse(429, "rate_limited", { "Retry-After": "3" }));

    await assert.rejects(rest.register(MAYA), { code: "rate_limited", retryable: true, retryAfterMs: 3_000 });
  });

  test("without an answer is a network failure", async () => {
    const offline = new Rest({ baseUrl: "https://minuet.test", fetch: () => Promise.reject(new TypeError("failed")), runtime });

    await assert.rejects(offline.login({ email: "", password: "" }), { code: "network", retryable: true });
  });

  test("of a proxy that does not speak JSON is one too", async () => {
    accounts.next.push(new Response("<h1>Bad gateway</h1>", { status: 502 }));

    await assert.rejects(rest.register(MAYA), { code: "unavailable", retryable: true });
  });
});

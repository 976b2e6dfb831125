/** The fake WebSocket and the real one keep to the same contract. The real one is there from Node 22 on. */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { websocketContract } from "./contracts/websocket.mjs";
import { FakeNetwork } from "./fakes/network.mjs";
import { startWebSocketServer } from "./fakes/websocket-server.mjs";

const NOBODY_LISTENS = "says 1006, never open, where nobody listens";

/** Why a promise is not asked of this Node's own WebSocket; false where it is. */
function excused(name) {
  const silent = name === NOBODY_LISTENS && Number.parseInt(process.versions.undici, 10) < 7;
  return silent && "before undici 7 (Node 24) no close follows a failed connection: nodejs/undici#3546";
}

describe("the fake WebSocket", () => {
  for (const { name, run } of websocketContract) {
    test(name, async () => {
      const network = new FakeNetwork();
      network.onconnect = echoOrClose;
      const dead = new FakeNetwork();
      dead.online = false;
      const place = {
        url: "ws://fake/",
        deadUrl: "ws://dead/",
        WebSocket: function connect(url, protocols) {
          return new (url === "ws://dead/" ? dead : network).WebSocket(url, protocols);
        },
      };
      await run(place, assert);
    });
  }
});

describe("the real WebSocket", { skip: typeof globalThis.WebSocket !== "function" && "this Node has none" }, () => {
  let server;
  before(async () => {
    server = await startWebSocketServer();
  });
  after(() => server.stop());
  for (const { name, run } of websocketContract) {
    test(name, { skip: excused(name) }, () => run({ WebSocket: globalThis.WebSocket, url: server.url, deadUrl: "ws://127.0.0.1:1/" }, assert));
  }
});

/** What the real server does. */
function echoOrClose(endpoint) {
  endpoint.onframe = (text) => {
    const [, code, reason] = /^close:(\d+):(.*)$/.exec(text) ?? [];
    if (code) endpoint.close(Number(code), reason);
    else endpoint.send(JSON.stringify(text));
  };
}

// The relay on Node's `ws`, as one writes it for one process: pairs in a map, presence and queue in Redis.

import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { WebSocketServer } from "ws";
import { announce, connectRedis, enter, join, leave, verify } from "./common.mjs";

const redis = connectRedis();
const here = new Map();
const server = createServer();
const sockets = new WebSocketServer({ server, path: "/v1/ws", maxPayload: 64 * 1024 });

const tell = (socket, type, data) => socket.send(JSON.stringify({ type, seq: ++socket.seq, data }));

async function start(socket, { token }) {
  const user = verify(token);
  await enter(redis, user);
  socket.user = user;
  here.set(user, socket);
  tell(socket, "session.ready", {});
}

async function meet(socket, { side }) {
  const other = here.get(await join(redis, socket.user, side));
  if (!other) return;
  socket.partner = other;
  other.partner = socket;
  const callId = randomUUID();
  tell(other, "match.found", { call_id: callId, offerer: true });
  tell(socket, "match.found", { call_id: callId, offerer: false });
}

function hear(socket, text) {
  const { type, data } = JSON.parse(text);
  if (socket.partner) {
    tell(socket.partner, type, data);
    return;
  }
  const doing = type === "session.start" ? start(socket, data) : socket.user && meet(socket, data);
  Promise.resolve(doing).catch(() => socket.close(4502));
}

sockets.on("connection", (socket) => {
  socket.seq = 0;
  socket.on("message", (text) => hear(socket, text));
  socket.on("error", () => socket.terminate());
  socket.on("close", () => {
    if (!socket.user) return;
    here.delete(socket.user);
    leave(redis, socket.user).catch(() => {});
  });
});
announce(server);

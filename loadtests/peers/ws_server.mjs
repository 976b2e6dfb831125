// The relay on Node's `ws`, as one writes it: pairs in a map, presence and queue in Redis, and a channel of Redis for each
// process, by which partners on other processes are told.

import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { WebSocketServer } from "ws";
import { announce, channel, connectRedis, enter, join, leave, NODE, verify } from "./common.mjs";

const redis = connectRedis();
const bus = connectRedis();
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

const send = (node, message) => redis.publish(channel(node), JSON.stringify(message));

async function meet(socket, { side }) {
  const found = await join(redis, socket.user, side);
  if (!found) return;
  const callId = randomUUID();
  const met = { met: socket.user, node: NODE, to: found.user, type: "match.found" };
  const message = { ...met, data: { call_id: callId, offerer: true } };
  if (found.node === NODE) arrived(message);
  else send(found.node, message);
  socket.partner = found.node === NODE ? here.get(found.user) : found;
  tell(socket, "match.found", { call_id: callId, offerer: false });
}

function arrived({ to, met, node, type, data }) {
  const socket = here.get(to);
  if (!socket) return;
  if (met) socket.partner = node === NODE ? here.get(met) : { node, user: met };
  tell(socket, type, data);
}

function hear(socket, text) {
  const { type, data } = JSON.parse(text);
  const { partner } = socket;
  if (partner) {
    if (partner.node) send(partner.node, { to: partner.user, type, data });
    else tell(partner, type, data);
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
bus.on("message", (_, text) => arrived(JSON.parse(text)));
await bus.subscribe(channel(NODE));
announce(server);

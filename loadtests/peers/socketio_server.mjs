// The relay on Socket.IO with its Redis adapter. A partner on this node is told without the adapter: its cheapest way.

import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { createAdapter } from "@socket.io/redis-adapter";
import { Server } from "socket.io";
import { announce, connectRedis, enter, join, leave, verify } from "./common.mjs";

const redis = connectRedis();
const server = createServer();
const io = new Server(server, {
  adapter: createAdapter(connectRedis(), connectRedis()),
  transports: ["websocket"],
  serveClient: false,
  maxHttpBufferSize: 64 * 1024,
});
const here = new Map();

const tell = (socket, type, data) => socket.emit("message", { type, seq: ++socket.data.seq, data });

io.use((socket, next) => {
  try {
    socket.data.user = verify(socket.handshake.auth.token);
    socket.data.seq = 0;
  } catch (error) {
    next(error);
    return;
  }
  enter(redis, socket.data.user).then(() => next(), next);
});

async function meet(socket, { side }) {
  const other = here.get(await join(redis, socket.data.user, side));
  if (!other) return;
  socket.data.partner = other;
  other.data.partner = socket;
  const callId = randomUUID();
  tell(other, "match.found", { call_id: callId, offerer: true });
  tell(socket, "match.found", { call_id: callId, offerer: false });
}

io.on("connection", (socket) => {
  here.set(socket.data.user, socket);
  tell(socket, "session.ready", {});
  socket.on("message", ({ type, data }) => {
    if (socket.data.partner) tell(socket.data.partner, type, data);
    else meet(socket, data).catch(() => socket.disconnect(true));
  });
  socket.on("disconnect", () => {
    here.delete(socket.data.user);
    leave(redis, socket.data.user).catch(() => {});
  });
});
announce(server);

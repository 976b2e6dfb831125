// The relay on Socket.IO with its Redis adapter. A partner on this node is told without the adapter: its cheapest way. One on
// another node is told by their room, and hears no numbers.

import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { createAdapter } from "@socket.io/redis-adapter";
import { Server } from "socket.io";
import { announce, connectRedis, enter, join, leave, NODE, verify } from "./common.mjs";

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
  const found = await join(redis, socket.data.user, side);
  if (!found) return;
  const callId = randomUUID();
  const message = { type: "match.found", data: { call_id: callId, offerer: true } };
  if (found.node === NODE) {
    const other = here.get(found.user);
    if (!other) return;
    socket.data.partner = other;
    other.data.partner = socket;
    tell(other, message.type, message.data);
  } else {
    socket.data.room = found.user;
    io.serverSideEmit("met", found.user, socket.data.user, message);
  }
  tell(socket, "match.found", { call_id: callId, offerer: false });
}

io.on("met", (user, partner, { type, data }) => {
  const socket = here.get(user);
  if (!socket) return;
  socket.data.room = partner;
  tell(socket, type, data);
});

io.on("connection", (socket) => {
  const { user } = socket.data;
  here.set(user, socket);
  socket.join(user);
  tell(socket, "session.ready", {});
  socket.on("message", ({ type, data }) => {
    const { partner, room } = socket.data;
    if (partner) tell(partner, type, data);
    else if (room) io.to(room).emit("message", { type, data });
    else meet(socket, data).catch(() => socket.disconnect(true));
  });
  socket.on("disconnect", () => {
    here.delete(user);
    leave(redis, user).catch(() => {});
  });
});
announce(server);

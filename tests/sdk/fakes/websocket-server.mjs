/**
 * A real WebSocket server, as small as RFC 6455 allows for short unfragmented texts: it sends back what it is sent
 * (`echo:`), and closes as it is told (`close:<code>:<reason>`).
 */

import { createHash } from "node:crypto";
import { createServer } from "node:http";

const MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

export async function startWebSocketServer() {
  const server = createServer();
  const sockets = new Set();
  server.on("upgrade", (request, socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    const accept = createHash("sha1").update(request.headers["sec-websocket-key"] + MAGIC).digest("base64");
    const protocol = request.headers["sec-websocket-protocol"].split(",")[0].trim();
    socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\nSec-WebSocket-Protocol: ${protocol}\r\n\r\n`);
    let rest = Buffer.alloc(0);
    socket.on("data", (chunk) => {
      rest = Buffer.concat([rest, chunk]);
      for (let frame = readFrame(rest); frame; frame = readFrame(rest)) {
        rest = rest.subarray(frame.size);
        answer(socket, frame);
      }
    });
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `ws://127.0.0.1:${server.address().port}/`,
    stop: () => {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

function readFrame(bytes) {
  if (bytes.length < 6) return null;
  const length = bytes[1] & 0x7f;
  if (length > 125) throw new Error("this server is for short texts");
  if (bytes.length < 6 + length) return null;
  const mask = bytes.subarray(2, 6);
  const payload = Buffer.from(bytes.subarray(6, 6 + length).map((byte, index) => byte ^ mask[index % 4]));
  return { opcode: bytes[0] & 0x0f, payload, size: 6 + length };
}

function writeFrame(socket, opcode, payload) {
  socket.write(Buffer.concat([Buffer.from([0x80 | opcode, payload.length]), payload]));
}

function answer(socket, { opcode, payload }) {
  if (opcode === 8) {
    writeFrame(socket, 8, payload);
    socket.end();
    return;
  }
  const text = payload.toString();
  const [, code, reason] = /^"close:(\d+):(.*)"$/.exec(text) ?? [];
  if (code) {
    const number = Buffer.alloc(2);
    number.writeUInt16BE(Number(code));
    writeFrame(socket, 8, Buffer.concat([number, Buffer.from(reason)]));
  } else writeFrame(socket, 1, payload);
}

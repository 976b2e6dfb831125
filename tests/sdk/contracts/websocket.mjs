/**
 * What the SDK relies on in a WebSocket. The fake keeps to it, and so does the real one.
 *
 * @typedef {object} Place where the suite runs
 * @property {any} WebSocket
 * @property {string} url of a server that sends what it is sent back (`echo:`), closes as it is told (`close:4001:why`)
 * @property {string} deadUrl where nobody listens
 */

/** @type {Array<{name: string, run: (place: Place, assert: any) => Promise<void>}>} */
export const websocketContract = [
  {
    name: "opens with the subprotocol that was asked for",
    async run({ WebSocket, url }, assert) {
      const { socket } = await open(WebSocket, url);

      assert.equal(socket.readyState, 1);
      assert.equal(socket.protocol, "minuet.v1.json");
      await closed(socket);
    },
  },
  {
    name: "delivers texts in the order they were sent",
    async run({ WebSocket, url }, assert) {
      const { socket, events } = await open(WebSocket, url);
      socket.send('"echo:1"');
      socket.send('"echo:2"');
      await until(() => events.filter(([type]) => type === "message").length === 2);

      assert.deepEqual(events.filter(([type]) => type === "message").map(([, data]) => data), ['"echo:1"', '"echo:2"']);
      await closed(socket);
    },
  },
  {
    name: "refuses to send before it is open",
    async run({ WebSocket, url }, assert) {
      const socket = new WebSocket(url, ["minuet.v1.json"]);

      assert.throws(() => socket.send("{}"), { name: "InvalidStateError" });
      socket.close();
    },
  },
  {
    name: "tells the server's close code and reason once",
    async run({ WebSocket, url }, assert) {
      const { socket, events } = await open(WebSocket, url);
      socket.send('"close:4001:drain"');
      await until(() => events.some(([type]) => type === "close"));

      assert.deepEqual(events.filter(([type]) => type === "close"), [["close", 4001, "drain"]]);
      assert.equal(socket.readyState, 3);
    },
  },
  {
    name: "says 1006, never open, where nobody listens",
    async run({ WebSocket, deadUrl }, assert) {
      const events = [];
      const socket = watch(new WebSocket(deadUrl, ["minuet.v1.json"]), events);
      await until(() => events.some(([type]) => type === "close"));

      assert.deepEqual(events.map(([type, code]) => [type, code]), [["error", undefined], ["close", 1006]]);
      assert.equal(socket.readyState, 3);
    },
  },
  {
    name: "closes with a code of the application's own, and refuses one that is not",
    async run({ WebSocket, url }, assert) {
      const { socket } = await open(WebSocket, url);

      assert.throws(() => socket.close(1002), { name: "InvalidAccessError" });
      const event = await closed(socket, 4002, "silence");
      // Its code is whatever the server answered: nothing to rely on.
      assert.equal(event.type, "close");
      assert.equal(socket.readyState, 3);
    },
  },
  {
    name: "drops what is sent after it has closed, without complaint",
    async run({ WebSocket, url }, assert) {
      const { socket } = await open(WebSocket, url);
      await closed(socket);

      socket.send("{}");
      assert.equal(socket.readyState, 3);
    },
  },
];

function watch(socket, events) {
  socket.onopen = () => events.push(["open"]);
  socket.onmessage = (event) => events.push(["message", event.data]);
  socket.onclose = (event) => events.push(["close", event.code, event.reason]);
  socket.onerror = () => events.push(["error", undefined]);
  return socket;
}

async function open(WebSocket, url) {
  const events = [];
  const socket = watch(new WebSocket(url, ["minuet.v1.json"]), events);
  await until(() => events.length > 0);
  return { socket, events };
}

function closed(socket, code = 1000, reason = "") {
  return new Promise((resolve) => {
    socket.onclose = resolve;
    socket.close(code, reason);
  });
}

async function until(condition) {
  for (let turn = 0; turn < 6_000; turn += 1) {
    if (condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  throw new Error("it did not come to pass");
}

// What both relays on Node do beside passing on: check a token, write presence, queue by Redis lists. Several processes
// on one Redis are one deployment; each is a node, named by its process.

import { createHmac, timingSafeEqual } from "node:crypto";
import { Redis } from "ioredis";

const { BENCH_PREFIX, BENCH_REDIS_URL, BENCH_SECRET } = process.env;
const PRESENCE_S = 60;
export const NODE = String(process.pid);
export const channel = (node) => `${BENCH_PREFIX}node:${node}`;
// Whoever waits on the other side, else a place among one's own: in one step, or two could pass each other by.
const JOIN = `
local other = redis.call('LPOP', KEYS[2])
if not other then redis.call('RPUSH', KEYS[1], ARGV[1]) end
return other`;

/** A connection to Redis that puts commands of one turn of the loop into one write. */
export const connectRedis = () => new Redis(BENCH_REDIS_URL, { enableAutoPipelining: true });

/** Who a token speaks for; throws where it is not ours or has expired. */
export function verify(token) {
  const [head, body, signature] = token.split(".");
  const expected = createHmac("sha256", BENCH_SECRET).update(`${head}.${body}`).digest();
  const given = Buffer.from(signature, "base64url");
  if (given.length !== expected.length || !timingSafeEqual(given, expected)) throw new Error("bad signature");
  if (JSON.parse(Buffer.from(head, "base64url")).alg !== "HS256") throw new Error("bad algorithm");
  const claims = JSON.parse(Buffer.from(body, "base64url"));
  if (claims.exp * 1000 < Date.now()) throw new Error("expired");
  return claims.sub;
}

export const enter = (redis, user) => redis.set(`${BENCH_PREFIX}presence:${user}`, "here", "EX", PRESENCE_S);
export const leave = (redis, user) => redis.del(`${BENCH_PREFIX}presence:${user}`);

/** The user to talk to and their node, or null for whoever waits now. */
export async function join(redis, user, side) {
  const [own, other] = side === 0 ? ["a", "b"] : ["b", "a"];
  const place = `${NODE} ${user}`;
  const found = await redis.eval(JOIN, 2, `${BENCH_PREFIX}queue:${own}`, `${BENCH_PREFIX}queue:${other}`, place);
  if (!found) return null;
  const [node, partner] = found.split(" ");
  return { node, user: partner };
}

/** Says that the server listens, and collects what is garbage whenever it is asked to, before memory is read. */
export function announce(server) {
  if (globalThis.gc) process.on("SIGUSR2", () => globalThis.gc());
  server.listen(0, "127.0.0.1", 4096, () => console.log(`ready ${server.address().port}`));
}

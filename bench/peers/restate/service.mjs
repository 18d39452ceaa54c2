// Restate's side of the benchmark, in one process: the service whose steps are measured, and the client that starts
// executions. Commands come as JSON lines on standard input, one after another; each is answered by one JSON line.
// The lines {"reached": true} come in between. It ends with its standard input.

import http2 from "node:http2";
import net from "node:net";
import { createInterface } from "node:readline";

const READY_WITHIN_MS = 30_000;
const ASK_AGAIN_MS = 10;
const SESSIONS = 5; // the ingress takes 200 requests at once on a connection: room for the 1,000 of W2

// Node 20 has no Promise.withResolvers, which the SDK takes for granted.
Promise.withResolvers ??= function () {
  const parts = {};
  parts.promise = new Promise((resolve, reject) => Object.assign(parts, { resolve, reject }));
  return parts;
};
const restate = await import("@restatedev/restate-sdk");

const [ingress, admin, port] = process.argv.slice(2);
const uri = `http://127.0.0.1:${port}`;

let stamps = []; // when each step ran since they were last asked for, in seconds of the monotonic clock
let milestone = -1; // after so many it is said that it is reached
let sessions = [];
let turn = 0;

function step(number) {
  stamps.push(Number(process.hrtime.bigint()) / 1e9);
  if (stamps.length === milestone) say({ reached: true });
  return number + 1;
}

const service = restate.service({
  name: "bench",
  handlers: {
    chain: async (context, length) => {
      let n = 0;
      for (let number = 0; number < length; number++) {
        const last = n;
        n = await context.run(`s${number}`, () => step(last));
      }
      return n;
    },
    // The language's own Promise.all: the SDK's RestatePromise.all takes time with the square of the steps.
    fanOut: async (context, count) => {
      const steps = Array.from({ length: count }, (_, number) => context.run(`s${number}`, () => step(number)));
      return (await Promise.all(steps)).reduce((sum, result) => sum + result, 0);
    },
  },
});

const commands = {
  // Wait for the server; tell a new one of the service; `milestone` steps from here on are announced.
  open: async ({ isNew, milestone: steps }) => {
    milestone = steps;
    await Promise.all([healthy(admin, "/health"), healthy(ingress, "/restate/health")]);
    if (isNew) {
      const session = connected(admin);
      await request(session, "POST", "/deployments", { uri });
      session.close();
    }
    sessions = Array.from({ length: SESSIONS }, () => connected(ingress));
    return "open";
  },
  // Milliseconds from start to result, of one execution after another.
  chains: async ({ length, repeats }) => {
    const times = [];
    for (let number = 0; number < repeats; number++) {
      const begun = performance.now();
      const result = await call("chain", length);
      times.push(performance.now() - begun);
      check(result, length);
    }
    return times;
  },
  // All at once. An id that the server knows gives what was begun under it.
  many: async ({ length, ids, milestone: steps }) => {
    milestone = steps;
    await Promise.all(ids.map(async (id) => check(await call("chain", length, id), length)));
    return "done";
  },
  fanOut: async ({ count }) => {
    check(await call("fanOut", count), (count * (count + 1)) / 2);
    return "done";
  },
  stamps: async () => {
    const taken = stamps;
    stamps = [];
    return taken;
  },
};

function call(handler, value, key) {
  const session = sessions[turn++ % sessions.length];
  return request(session, "POST", `/bench/${handler}`, value, key && { "idempotency-key": key });
}

function check(result, expected) {
  if (result !== expected) throw new Error(`the result is ${result}, not ${expected}`);
}

function connected(socket) {
  return http2.connect("http://localhost", { createConnection: () => net.connect(socket) });
}

// The body of the answer, as JSON.
function request(session, method, path, value, headers) {
  return new Promise((resolve, reject) => {
    const isEmpty = value === undefined;
    const type = isEmpty ? {} : { "content-type": "application/json" };
    const asked = session.request({ ":method": method, ":path": path, ...type, ...headers }, { endStream: isEmpty });
    let status = 0;
    let text = "";
    asked.setEncoding("utf8");
    asked.on("response", (answered) => (status = answered[":status"]));
    asked.on("data", (part) => (text += part));
    asked.on("error", reject);
    asked.on("end", () => {
      if (status < 200 || status > 299) reject(new Error(`${path}: ${status} ${text}`));
      else resolve(text ? JSON.parse(text) : null);
    });
    if (!isEmpty) asked.end(JSON.stringify(value));
  });
}

async function healthy(socket, path) {
  const giveUpAt = performance.now() + READY_WITHIN_MS;
  for (;;) {
    const session = connected(socket);
    try {
      return await new Promise((resolve, reject) => {
        session.on("error", reject);
        request(session, "GET", path).then(resolve, reject);
      });
    } catch (error) {
      if (performance.now() > giveUpAt) throw error;
      await new Promise((resolve) => setTimeout(resolve, ASK_AGAIN_MS));
    } finally {
      session.destroy();
    }
  }
}

function say(words) {
  process.stdout.write(`${JSON.stringify(words)}\n`);
}

const handler = restate.createEndpointHandler({ services: [service], logger: () => {} });
http2.createServer(handler).listen(Number(port), "127.0.0.1");
for await (const line of createInterface({ input: process.stdin })) {
  const { do: name, ...options } = JSON.parse(line);
  say({ answer: await commands[name](options) });
}
process.exit(0);

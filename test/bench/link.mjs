// A link with a delay to HOST:PORT, which counts the requests that pass: node link.mjs HOST:PORT DELAY. Prints its port, and for each
// line on stdin the number of requests since the last.
import { connect, createServer } from "node:net";

const [place = "", delay = "0"] = process.argv.slice(2);
const [host, port] = place.split(":");
const ms = Number(delay);
let requests = 0;

const server = createServer((near) => {
  near.setNoDelay();
  const opened = performance.now();
  const far = connect(Number(port), host).setNoDelay();
  // The handshake of a connection takes a round trip before the first byte can go.
  later(near, far, () => Math.max(ms, opened + 3 * ms - performance.now()), count);
  later(far, near, () => ms, undefined);
});

/** Passes on what `from` says, `wait()` ms later, in order. */
function later(from, to, wait, seen) {
  const due = [];
  const pump = () => {
    const now = performance.now();
    while (due.length > 0 && due[0].at <= now) due.shift().act();
    if (due.length > 0) setTimeout(pump, Math.max(1, due[0].at - now));
  };
  const at = (act) => {
    if (ms === 0) return act();
    due.push({ at: Math.max(due.at(-1)?.at ?? 0, performance.now() + wait()), act });
    if (due.length === 1) setTimeout(pump, Math.max(1, due[0].at - performance.now()));
  };
  from
    .on("data", (chunk) => {
      seen?.(chunk);
      // What is on its way is not without bound: 8 MiB are more than what such a link holds.
      if (to.writableLength > 8 << 20) {
        from.pause();
        to.once("drain", () => from.resume());
      }
      at(() => to.write(chunk));
    })
    .on("end", () => at(() => to.end()))
    .on("error", () => to.destroy())
    // After its end it has said all there is to say, which may still be on its way.
    .on("close", () => from.readableEnded || at(() => to.destroy()));
}

/** Several may come together, where a client does not wait for an answer before it sends the next. */
function count(chunk) {
  requests += chunk.toString("latin1").match(/(?:GET|HEAD|PUT|POST|PATCH|DELETE) \/\S* HTTP\/1\.1\r\n/g)?.length ?? 0;
}

process.stdin.on("data", () => {
  process.stdout.write(`${requests}\n`);
  requests = 0;
});
process.stdin.on("end", () => process.exit());
server.listen(0, "127.0.0.1", () => process.stdout.write(`${server.address().port}\n`));

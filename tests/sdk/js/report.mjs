// What the JavaScript clients print, and how they are told to stop: the same
// contract as reporting.py.

import { parseArgs } from "node:util";

// Alpaca's channel names, with the letter its messages carry in `T`.
export const MESSAGE_TYPES = {
  trades: "t",
  quotes: "q",
  bars: "b",
  updatedBars: "u",
  dailyBars: "d",
  statuses: "s",
  lulds: "l",
  imbalances: "i",
  corrections: "c",
  cancelErrors: "x",
  orderbooks: "o",
  news: "n",
};

export function readArguments() {
  const { values } = parseArgs({
    options: {
      stream: { type: "string", default: "stock" },
      url: { type: "string" },
      key: { type: "string" },
      secret: { type: "string" },
      subscribe: { type: "string" },
      feed: { type: "string", default: "iex" },
      "on-connect": { type: "boolean", default: false },
    },
  });
  for (const name of ["url", "key", "secret", "subscribe"]) {
    if (values[name] === undefined) fail(`--${name} is required`);
  }
  values.subscribe = JSON.parse(values.subscribe);
  for (const channel of Object.keys(values.subscribe)) {
    if (!(channel in MESSAGE_TYPES)) fail(`no such channel: ${channel}`);
  }
  return values;
}

/** A mistake in the arguments: say so and leave. */
export function fail(sentence) {
  process.stderr.write(`${sentence}\n`);
  process.exit(2);
}

/** Call `stop` once, at SIGTERM or at the end of stdin. */
export function onStopRequest(stop) {
  const once = () => {
    process.removeListener("SIGTERM", once);
    process.stdin.removeListener("end", once);
    process.stdin.destroy();
    stop();
  };
  process.once("SIGTERM", once);
  process.stdin.once("end", once);
  process.stdin.resume();
}

/** Does an acknowledged set hold everything that was asked for? */
export function covers(held, wanted) {
  return Object.entries(wanted).every(([channel, symbols]) =>
    symbols.every((symbol) => (held[channel] ?? []).includes(symbol)),
  );
}

/** JSON lines on stdout; what one turn of the event loop printed leaves in one write. */
export class Report {
  #messages = 0;
  #lines = [];
  #resolution;

  constructor({ tResolutionNs }) {
    this.#resolution = tResolutionNs;
  }

  subscribed() {
    this.event("subscribed", { t_resolution_ns: this.#resolution });
  }

  /**
   * Print one message.
   *
   * `integers` holds what a JavaScript number cannot: nanoseconds and 64-bit
   * ids, as BigInt or decimal text. `undefined` fields are left out.
   */
  message(fields, integers = {}) {
    this.#messages += 1;
    let line = JSON.stringify(fields).slice(0, -1);
    for (const [name, digits] of Object.entries(integers)) {
      if (digits !== undefined) line += `,"${name}":${digits}`;
    }
    this.#put(`${line}}\n`);
  }

  error(code, msg) {
    this.event("error", { code: code ?? null, msg });
  }

  event(name, facts = {}) {
    this.#put(`${JSON.stringify({ event: name, ...facts })}\n`);
  }

  /** The last line; `whenWritten` is called when stdout has taken it. */
  closed(whenWritten) {
    this.event("closed", { messages: this.#messages });
    this.#flush(whenWritten);
  }

  #put(line) {
    if (this.#lines.push(line) === 1) setImmediate(() => this.#flush());
  }

  #flush(whenWritten) {
    const text = this.#lines.join("");
    this.#lines = [];
    process.stdout.write(text, whenWritten);
  }
}

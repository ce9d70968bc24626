// @alpacahq/alpaca-trade-api 4, unmodified, printing what its listeners receive.

import { Alpaca, streaming } from "alpaca-v4";
import { MESSAGE_TYPES, Report, covers, fail, onStopRequest, readArguments } from "./report.mjs";

const STREAMS = {
  stock: "stockStream",
  option: "optionStream",
  crypto: "cryptoStream",
  news: "newsStream",
};

// The SDK's methods for each channel: to subscribe (corrections and cancels come
// with trades), and to listen.
const METHODS = {
  trades: ["subscribeForTrades", "onTrade"],
  quotes: ["subscribeForQuotes", "onQuote"],
  bars: ["subscribeForBars", "onBar"],
  updatedBars: ["subscribeForUpdatedBars", "onUpdatedBar"],
  dailyBars: ["subscribeForDailyBars", "onDailyBar"],
  statuses: ["subscribeForStatuses", "onStatus"],
  lulds: ["subscribeForLulds", "onLuld"],
  imbalances: ["subscribeForImbalances", "onImbalance"],
  orderbooks: ["subscribeForOrderbooks", "onOrderbook"],
  news: ["subscribeForNews", "onNews"],
  corrections: [undefined, "onCorrection"],
  cancelErrors: [undefined, "onCancelError"],
};

// The SDK's names for the wire's, by message type. 64-bit ids and timestamps
// are printed from their lossless `...Raw` twins instead.
const BAR = {
  o: "open", h: "high", l: "low", c: "close", v: "volume", n: "tradeCount", vw: "vwap",
};
const PROPERTIES = {
  t: { x: "exchange", p: "price", s: "size", c: "conditions", z: "tape", tks: "takerSide" },
  q: {
    bx: "bidExchange", bp: "bidPrice", bs: "bidSize",
    ax: "askExchange", ap: "askPrice", as: "askSize",
    c: "conditions", z: "tape",
  },
  b: BAR,
  u: BAR,
  d: BAR,
  s: { sc: "statusCode", sm: "statusMessage", rc: "reasonCode", rm: "reasonMessage", z: "tape" },
  l: { u: "limitUpPrice", d: "limitDownPrice", i: "indicator", z: "tape" },
  i: { p: "price", z: "tape" },
  c: {
    x: "exchange",
    op: "originalPrice", os: "originalSize", oc: "originalConditions",
    cp: "correctedPrice", cs: "correctedSize", cc: "correctedConditions",
    z: "tape",
  },
  x: { x: "exchange", p: "price", s: "size", a: "action", z: "tape" },
  o: { r: "reset" },
  n: {
    headline: "headline", summary: "summary", author: "author", url: "url",
    content: "content", symbols: "symbols", source: "source",
  },
};

const level = ({ price, size }) => ({ p: price, s: size });

function nanoseconds(rfc3339) {
  if (rfc3339 === undefined) return undefined;
  const seconds = BigInt(Date.parse(`${rfc3339.slice(0, 19)}Z`) / 1000);
  return seconds * 1_000_000_000n + BigInt(rfc3339.slice(20, -1).padEnd(9, "0"));
}

/** Print one of the SDK's objects under the wire's names. */
function print(report, type, object) {
  const fields = { T: type, S: object.symbol };
  for (const [wireName, property] of Object.entries(PROPERTIES[type])) {
    const value = object[property];
    // The SDK makes up `conditions: []` and `reset: false` where the wire has none.
    const invented =
      value === false || (property === "conditions" && Array.isArray(value) && !value.length);
    if (!invented) fields[wireName] = value;
  }
  const integers = { t: nanoseconds(object.timestampRaw) };
  switch (type) {
    case "o":
      fields.b = object.bids.map(level);
      fields.a = object.asks.map(level);
      break;
    case "c":
      integers.oi = object.originalIdRaw;
      integers.ci = object.correctedIdRaw;
      break;
    case "n":
      // News times have no lossless twin: milliseconds.
      integers.id = object.idRaw;
      integers.created_at = BigInt(object.createdAt.getTime()) * 1_000_000n;
      integers.updated_at = BigInt(object.updatedAt.getTime()) * 1_000_000n;
      break;
    default:
      integers.i = object.idRaw;
  }
  report.message(fields, integers);
}

const options = readArguments();
if (!(options.stream in STREAMS)) fail(`no such stream: ${options.stream}`);
const report = new Report({ tResolutionNs: 1 });
const alpaca = new Alpaca({ keyId: options.key, secret: options.secret });
const stream = alpaca.marketData[STREAMS[options.stream]]({ url: options.url });

for (const [channel, [, listen]] of Object.entries(METHODS)) {
  stream[listen]((object) => print(report, MESSAGE_TYPES[channel], object));
}
stream.on(streaming.EVENT.SUBSCRIPTION, (held) => {
  if (covers(held, options.subscribe)) report.subscribed();
});
stream.onError((message) => report.error(undefined, message));
stream.onReconnecting((attempt) => report.event("reconnecting", { attempt }));
for (const channel of Object.keys(options.subscribe)) {
  if (!METHODS[channel][0]) fail(`${channel} come with trades and cannot be subscribed to`);
}
const subscribe = () => {
  for (const [channel, symbols] of Object.entries(options.subscribe)) {
    stream[METHODS[channel][0]](symbols);
  }
};
// What is held when the login succeeds goes out in one message. Subscribing in
// onConnect, as the SDK's manual does, sends one message per channel and then
// everything once more.
if (options["on-connect"]) stream.onConnect(subscribe);
else subscribe();
onStopRequest(() => {
  stream.disconnect();
  report.closed(() => process.exit(0));
});
stream.connect();

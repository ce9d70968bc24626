// @alpacahq/alpaca-trade-api 3, unmodified, printing what its listeners receive.
//
// It turns every URL into wss://, so it needs a TLS port; the caller names the
// certificate to trust in NODE_EXTRA_CA_CERTS. Its clock stops at milliseconds
// (rounded, not cut), and 64-bit ids above 2^53 are damaged by its decoder.

import Alpaca from "alpaca-v3";
import { MESSAGE_TYPES, Report, fail, onStopRequest, readArguments } from "./report.mjs";

const STREAMS = {
  stock: "data_stream_v2",
  option: "option_stream",
  crypto: "crypto_stream_v1beta3",
  news: "news_stream",
};

// The SDK's listener for each channel, by stream.
const LISTENERS = {
  stock: {
    trades: "onStockTrade",
    quotes: "onStockQuote",
    bars: "onStockBar",
    updatedBars: "onStockUpdatedBar",
    dailyBars: "onStockDailyBar",
    statuses: "onStatuses",
    lulds: "onLulds",
    cancelErrors: "onCancelErrors",
    corrections: "onCorrections",
  },
  option: { trades: "onOptionTrade", quotes: "onOptionQuote" },
  crypto: {
    trades: "onCryptoTrade",
    quotes: "onCryptoQuote",
    bars: "onCryptoBar",
    updatedBars: "onCryptoUpdatedBar",
    dailyBars: "onCryptoDailyBar",
    orderbooks: "onCryptoOrderbook",
  },
  news: { news: "onNews" },
};

// The SDK's property names, back to the wire's. It passes on what it has no
// name for, so the same letter may come either way.
const WIRE_NAMES = {
  Symbol: "S", ID: "i", Exchange: "x", Price: "p", Size: "s", Timestamp: "t",
  Conditions: "c", Condition: "c", Tape: "z", TakerSide: "tks",
  BidExchange: "bx", BidPrice: "bp", BidSize: "bs",
  AskExchange: "ax", AskPrice: "ap", AskSize: "as",
  OpenPrice: "o", HighPrice: "h", LowPrice: "l", ClosePrice: "c",
  Open: "o", High: "h", Low: "l", Close: "c",
  Volume: "v", VWAP: "vw", TradeCount: "n",
  StatusCode: "sc", StatusMessage: "sm", ReasonCode: "rc", ReasonMessage: "rm",
  LimitUpPrice: "u", LimitDownPrice: "d", Indicator: "i",
  CancelErrorAction: "a",
  OriginalID: "oi", OriginalPrice: "op", OriginalSize: "os", OriginalConditions: "oc",
  CorrectedID: "ci", CorrectedPrice: "cp", CorrectedSize: "cs", CorrectedConditions: "cc",
  Bids: "b", Asks: "a",
};
const NEWS_NAMES = {
  ID: "id", Author: "author", CreatedAt: "created_at", UpdatedAt: "updated_at",
  Headline: "headline", Summary: "summary", Content: "content", URL: "url",
  Symbols: "symbols", Source: "source",
};

const level = ({ Price, Size }) => ({ p: Price, s: Size });

function print(report, type, object) {
  const names = type === "n" ? NEWS_NAMES : WIRE_NAMES;
  const fields = { T: type };
  const integers = {};
  for (const [property, value] of Object.entries(object)) {
    const wireName = names[property] ?? property;
    if (wireName === "T") continue;
    if (value instanceof Date) integers[wireName] = BigInt(value.getTime()) * 1_000_000n;
    else if (property === "Bids" || property === "Asks") fields[wireName] = value.map(level);
    else fields[wireName] = value;
  }
  report.message(fields, integers);
}

const options = readArguments();
if (!(options.stream in STREAMS)) fail(`no such stream: ${options.stream}`);
const report = new Report({ tResolutionNs: 1_000_000 });

const alpaca = new Alpaca({
  keyId: options.key,
  secretKey: options.secret,
  dataStreamUrl: options.url,
  feed: options.feed,
  optionFeed: options.feed,
  verbose: true,
});
const stream = alpaca[STREAMS[options.stream]];

// The SDK tells of an ack only in its log, which it writes with console.log.
console.log = (text) => {
  const line = String(text);
  if (line.startsWith("listening to streams:")) {
    report.subscribed();
  } else if (line.startsWith("connection closed with code:")) {
    report.event("disconnected", { msg: line });
  }
};

for (const [channel, listen] of Object.entries(LISTENERS[options.stream])) {
  stream[listen]((object) => print(report, MESSAGE_TYPES[channel], object));
}
stream.onError((message) => report.error(undefined, String(message)));
stream.onConnect(() => {
  stream.subscribe(options.stream === "news" ? options.subscribe.news : options.subscribe);
});
onStopRequest(() => {
  stream.disconnect();
  report.closed(() => process.exit(0));
});
stream.connect();

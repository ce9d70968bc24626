// The same as harness/grpc_sinks.py with @grpc/grpc-js, for trades and quotes:
//
//   node grpc_sinks.mjs ADDRESS CALLS_JSON CONTRACT_FOLDER

import { createInterface } from "node:readline";
import { crc32 } from "node:zlib";

import { credentials, loadPackageDefinition, status } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

const [address, calls, contract] = process.argv.slice(2);
const definition = loadSync("cream/v1/stream_proxy.proto", {
  includeDirs: [contract],
  keepCase: true,
  longs: String,
});
const { StreamProxyService } = loadPackageDefinition(definition).cream.v1;

const time = ({ seconds, nanos }) => `${BigInt(seconds ?? 0) * 1_000_000_000n + BigInt(nanos ?? 0)}`;
const price = (value) => (value ?? 0).toFixed(6);
const size = (value) => `${value ?? 0}`;
const lines = {
  StreamTrades: ({ trade: t }) => [t.symbol, `t${time(t.timestamp)},${price(t.price)},${size(t.size)}`],
  StreamQuotes: ({ quote: q }) => [
    q.symbol,
    `q${time(q.timestamp)},${price(q.bid_price)},${size(q.bid_size)},` +
      `${price(q.ask_price)},${size(q.ask_size)}`,
  ],
};

function sink([method, symbols]) {
  const service = new StreamProxyService(address, credentials.createInsecure(), {
    "grpc.use_local_subchannel_pool": 1,
  });
  const report = { messages: 0, by_symbol: {}, rising: true, sequences: [], ended: "" };
  const call = service[method]({ symbols, feed: "sip" });
  let last = 0n;
  call.on("data", (response) => {
    report.messages += 1;
    const sequence = BigInt(response.sequence);
    report.rising &&= sequence > last;
    last = sequence;
    const [symbol, line] = lines[method](response);
    report.by_symbol[symbol] = crc32(line, report.by_symbol[symbol] ?? 0);
  });
  call.on("error", ({ code, details }) => {
    report.ended = `${status[code]}: ${details}`;
  });
  return new Promise((begun) => call.on("metadata", () => begun(report)));
}

const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const reports = await Promise.all(JSON.parse(calls).map(sink));
say({ event: "subscribed" });
createInterface({ input: process.stdin })
  .on("line", () => say(reports))
  .on("close", () => process.exit());

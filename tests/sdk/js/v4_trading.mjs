// @alpacahq/alpaca-trade-api 4's trading stream, unmodified, printing what its listeners receive.

import { parseArgs } from "node:util";
import { Alpaca, streaming } from "alpaca-v4";
import { Report, onStopRequest } from "./report.mjs";

const { values } = parseArgs({
  options: {
    url: { type: "string" },
    key: { type: "string" },
    secret: { type: "string" },
  },
});
const report = new Report({ tResolutionNs: 1 });
const alpaca = new Alpaca({ keyId: values.key, secret: values.secret, paper: true });
const stream = alpaca.trading.stream({ url: values.url });

stream.onTradeUpdate((update) => report.event("update", { update }));
stream.on(streaming.EVENT.SUBSCRIPTION, (streams) => report.event("listening", { streams }));
stream.onError((message) => report.error(undefined, message));
stream.onReconnecting((attempt) => report.event("reconnecting", { attempt }));
stream.subscribeTradeUpdates();
onStopRequest(() => {
  stream.disconnect();
  report.closed(() => process.exit(0));
});
stream.connect();

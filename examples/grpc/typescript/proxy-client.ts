// The proxy's streams as async iterables:
//
//   for await (const quote of streamQuotes(["AAPL"], { signal })) { … }
//
// A stream ends quietly when its signal says so, and throws grpc-js's ServiceError when the proxy
// ends it: `code` and `details` say why and what to do. Who breaks off the loop ends the call.

import { fileURLToPath } from "node:url";

import {
  type Client,
  type ClientReadableStream,
  credentials,
  loadPackageDefinition,
  type ServiceClientConstructor,
} from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

const ADDRESS = process.env.STREAM_PROXY ?? "localhost:50052";
const CONTRACTS = fileURLToPath(new URL("../../../protos", import.meta.url));

/** 64-bit integers are text: a JavaScript number ends at 2 ** 53. */
export interface Timestamp {
  seconds: string;
  nanos: number;
}

export interface Quote {
  symbol: string;
  timestamp: Timestamp;
  bidExchange: string;
  bidPrice: number;
  bidSize: number;
  askExchange: string;
  askPrice: number;
  askSize: number;
  conditions: string[];
  tape: string;
}

export interface Trade {
  symbol: string;
  timestamp: Timestamp;
  tradeId: string;
  exchange: string;
  price: number;
  size: number;
  conditions: string[];
  tape: string;
}

export interface Bar {
  symbol: string;
  timestamp: Timestamp;
  open: number;
  high: number;
  low: number;
  close: number;
  volume: string;
  vwap: number;
  tradeCount: number;
}

export interface OptionQuote {
  symbol: string;
  timestamp: Timestamp;
  bidExchange: string;
  bidPrice: number;
  bidSize: number;
  askExchange: string;
  askPrice: number;
  askSize: number;
  condition: string;
}

export interface OptionTrade {
  symbol: string;
  timestamp: Timestamp;
  price: number;
  size: number;
  exchange: string;
  condition: string;
}

/** Quantities and prices are decimal text, as Alpaca sends them. The contract has more. */
export interface Order {
  id: string;
  clientOrderId: string;
  symbol: string;
  side: string;
  orderType: string;
  status: string;
  qty: string;
  filledQty: string;
  filledAvgPrice: string;
}

export interface OrderUpdate {
  event: string;
  eventId: string;
  timestamp: Timestamp;
  order: Order;
  price?: string;
  qty?: string;
  positionQty?: string;
}

export interface StreamOptions {
  signal?: AbortSignal;
}

/** Which contracts: by name, or all of some underlyings. */
export interface Contracts {
  symbols?: string[];
  underlyings?: string[];
}

// No symbols means all symbols.
export const streamQuotes = (symbols: string[], options?: StreamOptions) =>
  stream<Quote>("StreamQuotes", "quote", { symbols }, options);

export const streamTrades = (symbols: string[], options?: StreamOptions) =>
  stream<Trade>("StreamTrades", "trade", { symbols }, options);

export const streamBars = (symbols: string[], options?: StreamOptions) =>
  stream<Bar>("StreamBars", "bar", { symbols }, options);

export const streamOptionQuotes = (contracts: Contracts, options?: StreamOptions) =>
  stream<OptionQuote>("StreamOptionQuotes", "quote", contracts, options);

export const streamOptionTrades = (contracts: Contracts, options?: StreamOptions) =>
  stream<OptionTrade>("StreamOptionTrades", "trade", contracts, options);

/** From now on, or from a place: `{ since: "oldest" }`, `{ cursor: "engine" }`. */
export const streamOrderUpdates = (
  start: { since?: string; cursor?: string; account?: string } = {},
  options?: StreamOptions,
) => stream<OrderUpdate>("StreamOrderUpdates", "update", start, options);

/** Ends all calls; a program that has done this can end. */
export function close(): void {
  connected?.close();
  connected = undefined;
}

type Methods = Record<string, (request: object) => ClientReadableStream<Record<string, unknown>>>;

let connected: (Client & Methods) | undefined;

function proxy(): Client & Methods {
  if (connected === undefined) {
    const definition = loadSync("cream/v1/stream_proxy.proto", {
      includeDirs: [CONTRACTS],
      longs: String,
      enums: String,
      defaults: true,
    });
    const contract = loadPackageDefinition(definition) as unknown as {
      cream: { v1: { StreamProxyService: ServiceClientConstructor } };
    };
    const Service = contract.cream.v1.StreamProxyService;
    connected = new Service(ADDRESS, credentials.createInsecure(), {
      // Notices within half a minute that the proxy is gone, even if nobody said so.
      "grpc.keepalive_time_ms": 20_000,
      "grpc.keepalive_timeout_ms": 10_000,
    }) as unknown as Client & Methods;
  }
  return connected;
}

async function* stream<Item>(
  method: string,
  item: string,
  request: object,
  { signal }: StreamOptions = {},
): AsyncGenerator<Item, void, undefined> {
  if (signal?.aborted) return;
  const call = proxy()[method]!(request);
  const cancel = () => call.cancel();
  signal?.addEventListener("abort", cancel, { once: true });
  // Without a listener, the error that our own cancel makes would end the program.
  call.on("error", () => {});
  try {
    for await (const response of call) yield response[item] as Item;
  } catch (error) {
    if (!signal?.aborted) throw error;
  } finally {
    signal?.removeEventListener("abort", cancel);
    call.cancel();
  }
}

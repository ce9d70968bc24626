import { close, streamQuotes } from "./proxy-client.ts";

const controller = new AbortController();
const { signal } = controller;
process.once("SIGINT", () => controller.abort());

for await (const quote of streamQuotes(["AAPL", "MSFT"], { signal })) {
  console.log(quote.symbol, quote.bidPrice, quote.askPrice);
}
close();

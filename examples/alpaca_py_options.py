"""How do I read option data? As with Alpaca: trades by *, quotes by contract.

    make demo                                  # or: stream-proxy serve, with your keys
    pip install alpaca-py
    python examples/alpaca_py_options.py

Alpaca sends no quotes for * on option feeds (error 413), so this learns contracts from their
trades and then asks for the quotes of those.
"""

import asyncio

from alpaca.data.live import OptionDataStream

MOST_CONTRACTS = 20

stream = OptionDataStream("any", "any", url_override="ws://127.0.0.1:8099/v1beta1/indicative")
contracts = set()


async def on_quote(quote):
    print(f"{quote.symbol}: {quote.bid_price} bid, {quote.ask_price} ask")


async def on_trade(trade):
    print(f"{trade.symbol}: {trade.size} contracts traded at {trade.price}")
    if trade.symbol not in contracts and len(contracts) < MOST_CONTRACTS:
        contracts.add(trade.symbol)
        # In a thread: while the stream runs, alpaca-py's subscribe waits for its event loop.
        await asyncio.to_thread(stream.subscribe_quotes, on_quote, trade.symbol)


stream.subscribe_trades(on_trade, "*")
stream.run()  # until Ctrl-C

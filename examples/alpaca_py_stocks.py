"""How do I point alpaca-py at the proxy? Change one argument: url_override.

    make demo                                  # or: stream-proxy serve, with your keys
    pip install alpaca-py
    python examples/alpaca_py_stocks.py

The proxy holds Alpaca's one connection, so this runs beside any number of other programs.
"""

from alpaca.data.live import StockDataStream

# The proxy knows the real keys; unless it wants access tokens, any text does here.
stream = StockDataStream("any", "any", url_override="ws://127.0.0.1:8099/v2/iex")


async def on_quote(quote):
    print(f"{quote.symbol}: {quote.bid_price} bid, {quote.ask_price} ask")


async def on_trade(trade):
    print(f"{trade.symbol}: {trade.size} traded at {trade.price}")


stream.subscribe_quotes(on_quote, "AAPL", "MSFT")
stream.subscribe_trades(on_trade, "AAPL")
stream.run()  # until Ctrl-C

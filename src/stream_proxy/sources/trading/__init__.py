"""Into the order journal: Alpaca's trading stream, and its REST where the stream was silent."""

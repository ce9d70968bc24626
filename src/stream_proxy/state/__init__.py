"""What we remember of a feed: last values, order books, gaps."""

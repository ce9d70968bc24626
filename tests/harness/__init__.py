"""What the tests share: processes, consumers, and a way to wait for conditions."""

"""Into the hub: where messages come from."""

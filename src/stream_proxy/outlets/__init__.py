"""Out of the hub: what serves or feeds consumers of one kind."""

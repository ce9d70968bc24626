"""A world without sockets, threads or waiting: what can go wrong does, from a seed."""

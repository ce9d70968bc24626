"""One world as data: drawn from a seed, printed as JSON, and played again from that JSON alone."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import msgspec

from faults.alpaca import STEPS
from faults.consumer import TEMPERS
from faults.strike import FAULTS

_SHORTEST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 20.0, 160.0
FIRST_SECONDS = 15.0
"""Until then nothing goes wrong."""
_STEPS = [step for step in STEPS if step != "data"]


class Fault(msgspec.Struct, omit_defaults=True):
    """What goes wrong and when.

    Attributes:
        kind: a name in `FAULTS`.
        at: seconds since the beginning.
        draw: seeds whatever else it draws.
        step: strike the next time that the conversation comes to this step, instead of at once.
    """

    kind: str
    at: float
    draw: int
    step: str = ""


class Script(msgspec.Struct, omit_defaults=True):
    """A whole world.

    Attributes:
        seconds: how long things go wrong.
        calm_seconds: how long nothing does after that: time to come to rest.
        rate: messages of the market per second, on average.
    """

    seed: int
    codec: str
    rate: float
    seconds: float
    calm_seconds: float
    consumers: list[str]
    faults: list[Fault]

    @classmethod
    def from_seed(cls, seed: int, only: Sequence[str] = (), seconds: float = 900.0) -> Script:
        """Draw a world.

        Args:
            only: names of faults; others are not drawn.
            seconds: about how long things go wrong.
        """
        random = Random(f"script {seed}")
        names = sorted(only or FAULTS)
        weights = [FAULTS[name].weight for name in names]
        faults: list[Fault] = []
        at = FIRST_SECONDS + random.uniform(0, _SHORTEST_PAUSE_SECONDS)
        while at < seconds:
            [name] = random.choices(names, weights)
            step = random.choice(_STEPS) if random.random() < FAULTS[name].steps_share else ""
            faults.append(Fault(name, round(at, 3), random.randrange(1 << 30), step))
            if random.random() < 0.2:
                # On top of the last one.
                at += random.uniform(0.0, 1.0)
            else:
                at += random.uniform(_SHORTEST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS)
        tempers = ["steady", "resumer", *random.choices(sorted(TEMPERS), k=random.randint(1, 4))]
        return cls(
            seed,
            random.choice(("msgpack", "msgpack", "json")),
            round(10 ** random.uniform(-0.7, 0.5), 3),
            at,
            420.0,
            tempers,
            faults,
        )

    @classmethod
    def alone(cls, name: str, seed: int = 5) -> Script:
        """A short world in which one fault strikes three times, twice in a row."""
        faults = [Fault(name, at, seed + int(at)) for at in (20.0, 60.0, 61.0)]
        consumers = ["steady", "everything", "fickle", "resumer", "staller", "hostile"]
        return cls(seed, "msgpack", 2.0, 100.0, 320.0, consumers, faults)

    def json(self) -> str:
        """On one line."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> Script:
        return msgspec.json.decode(text, type=cls)


def smaller(script: Script) -> list[Script]:
    """The same world with one fault less, or one consumer, of which each may fail as well."""
    worlds = []
    for index in range(len(script.faults)):
        faults = script.faults[:index] + script.faults[index + 1 :]
        worlds.append(msgspec.structs.replace(script, faults=faults))
    for index in range(len(script.consumers)):
        consumers = script.consumers[:index] + script.consumers[index + 1 :]
        worlds.append(msgspec.structs.replace(script, consumers=consumers))
    return worlds

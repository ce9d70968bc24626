"""Faults of the machine and the process that the proxy runs on: U28, U30, U35."""

from __future__ import annotations

from faults.alpaca import Line
from faults.strike import Strike, fault

_BETWEEN_JUMPS_SECONDS = 300.0


@fault("U28", "the wall clock jumps")
def clock_jumps(strike: Strike) -> None:
    seconds = strike.random.choice((0.5, 1.0, 3600.0, 86_400.0))
    if strike.random.random() < 0.5:
        seconds = -seconds
    if strike.now - strike.world.jumps[-1][0] < _BETWEEN_JUMPS_SECONDS and strike.world.jumps[1:]:
        return  # twice in a gap can't be told
    strike.fired()
    strike.world.jump(seconds)


@fault("U30", "the connection ends while the proxy goes down", weight=0.5)
def reset_in_drain(strike: Strike) -> None:
    line = strike.line()
    strike.fired()
    strike.world.terminate()
    if line is not None:
        strike.world.loop.call_later(strike.random.uniform(0, 0.05), _drop, line)


def _drop(line: Line) -> None:
    if not line.gone:
        line.drop()


@fault("U35", "killed", steps_share=0.4)
def killed(strike: Strike) -> None:
    strike.line()
    strike.fired()
    strike.world.kill()


@fault("U35", "told to end, and started again", steps_share=0.2)
def terminated(strike: Strike) -> None:
    strike.fired()
    strike.world.terminate()


@fault("U35", "everything stands still", steps_share=0.2)
def suspended(strike: Strike) -> None:
    seconds = strike.random.choice((1.0, 5.0, 45.0, 600.0))
    strike.fired(seconds)
    strike.world.suspend(seconds)

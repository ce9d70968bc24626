"""The trading desk: gives the engine time, its events to the streams, and faults their chance."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any

import structlog

from stream_proxy.runtime.clock import Clock
from stream_proxy.simulator.faults import ArmedFaults, Fault
from stream_proxy.simulator.options import SimulatorOptions
from stream_proxy.simulator.slots import Slots
from stream_proxy.simulator.trading.account import Account, account_kind
from stream_proxy.simulator.trading.assets import Assets
from stream_proxy.simulator.trading.chatter import Chatter
from stream_proxy.simulator.trading.engine import Engine, EngineRules
from stream_proxy.simulator.trading.forcing import force
from stream_proxy.simulator.trading.ledger import TradingLedger
from stream_proxy.simulator.trading.prices import TradingMarket
from stream_proxy.simulator.trading.refusals import Refusal
from stream_proxy.wire.alpaca.requests import Credentials

if TYPE_CHECKING:
    from stream_proxy.simulator.trading.stream import TradingSession

_log = structlog.get_logger("stream_proxy.simulator.trading")


def feed_name(kind: str) -> str:
    """What faults, slots and denied feeds call the trading side of a kind of account."""
    return f"trading-{kind}"


class TradingDesk:
    """The trading side of one simulator.

    Args:
        options: the simulator's.
        clock: whose time the orders live in.
        faults: the armed ones, shared with the market-data side.
        slots: the connection slots, shared too.
        market: where orders are matched.
        knows: whether a key and secret, or a token, are accepted.
    """

    def __init__(
        self,
        options: SimulatorOptions,
        clock: Clock,
        faults: ArmedFaults,
        slots: Slots,
        market: TradingMarket,
        knows: Callable[[Credentials], bool],
    ) -> None:
        self.options = options
        self.clock = clock
        self.faults = faults
        self.slots = slots
        self.ledger = TradingLedger()
        self.sessions: dict[TradingSession, None] = {}
        self.engine = Engine(
            market,
            # Ids must not come again in the next run, for whoever remembers this one.
            Random(f"{options.seed}/{clock.now_ns()}"),  # noqa: S311 (order ids, not secrets)
            Assets(options.symbols),
            EngineRules(options.trading_hours, options.trading_partial_share),
        )
        self.chatters: dict[Account, Chatter] = {}
        self._knows = knows
        self._wake = asyncio.Event()
        self._news = asyncio.Event()
        self._stopped = False
        self._task: asyncio.Task[None] | None = None

    # Accounts

    def account_of(self, credentials: Credentials, path_kind: str | None) -> Account | None:
        """The account that these credentials open on a path, or None if they open none.

        A path that names a kind takes no key that is plainly of the other kind.
        """
        if not self._knows(credentials):
            return None
        key = credentials.key
        if credentials.bearer:
            owners = [
                k for k, secret in self.options.accounts.items() if secret == credentials.secret
            ]
            # A token must not appear anywhere, so its account has a made-up name.
            key = owners[0] if owners else "token"
        kind = path_kind or account_kind(key)
        if key[:2] == {"paper": "AK", "live": "PK"}[kind]:
            return None
        return self.account(kind, key)

    def account(self, kind: str, key: str) -> Account:
        account = self.engine.account(kind, key, self.clock.now_ns())
        if self.options.trading_chatter and account not in self.chatters:
            self.chat(account, self.options.trading_chatter, self.options.seed)
        return account

    def denied(self, kind: str) -> bool:
        return not self.options.denied_feeds.isdisjoint(("trading", feed_name(kind)))

    def chat(self, account: Account, rate: float, seed: int, symbols: tuple[str, ...] = ()) -> None:
        """Place random orders in an account from now on; a rate of 0 stops it."""
        if rate:
            made = Chatter(self.engine, account, rate, seed, self.clock.now_ns(), symbols)
            self.chatters[account] = made
        else:
            self.chatters.pop(account, None)
        self.wake()

    # Time

    def wake(self) -> None:
        """Something is to be done: start or hurry the task that lets time pass."""
        if self._task is None and not self._stopped:
            self._task = asyncio.get_running_loop().create_task(self._run())
        self._wake.set()

    async def _run(self) -> None:
        while True:
            if not self.engine.busy and not self.chatters:
                self._wake.clear()
                await self._wake.wait()
            await asyncio.sleep(self.options.trading_step_seconds)
            try:
                self.step()
            except Exception:
                # A bug that one order wakes up must not stop the market for all others.
                _log.exception("trading.step_failed")

    def step(self) -> None:
        """Let the engine catch up with the clock, and tell everybody."""
        now_ns = self.clock.now_ns()
        for chatter in list(self.chatters.values()):
            chatter.step(now_ns)
        self.engine.step(now_ns)
        self.pump()

    def pump(self) -> None:
        """Hand fresh events to whoever listens."""
        events = self.engine.take_events()
        if not events:
            return
        for account, event in events:
            for session in list(self.sessions):
                if session.account is account:
                    session.deliver(event)
        fresh, self._news = self._news, asyncio.Event()
        fresh.set()

    async def news(self, seconds: float) -> bool:
        """Wait for events of any account, at most so long; False if there were none."""
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            return False
        return True

    @property
    def stopped(self) -> bool:
        return self._stopped

    def stop(self) -> None:
        """End the task and the event streams."""
        self._stopped = True
        if self._task is not None:
            self._task.cancel()
        self._news.set()

    # Streams

    def room(self, path_kind: str | None) -> bool:
        """Whether a client that has not said its key may still be one with a free slot."""
        options = self.options
        waiting = sum(
            session.account is None
            and (None in (path_kind, session.path_kind) or session.path_kind == path_kind)
            for session in self.sessions
        )
        if not options.accounts:
            # Any key is accepted, so nobody knows how many there are: one is assumed.
            used = sum(self.slots.in_use(feed_name(path_kind or "paper")).values())
            return used + waiting < options.connections_per_key
        free = 0
        for key in options.accounts:
            for kind in (path_kind,) if path_kind else (account_kind(key),):
                if key[:2] != {"paper": "AK", "live": "PK"}[kind]:
                    used = self.slots.in_use(feed_name(kind)).get(key, 0)
                    free += max(0, options.connections_per_key - used)
        return waiting < free

    def commit(self, fault: Fault) -> int:
        """Commit a fault on the open streams that it concerns; give how many."""
        hit = [
            session
            for session in list(self.sessions)
            if session.concerned(fault) and not session.connection.lost
        ]
        for session in hit:
            session.commit(fault)
        if fault.kind == "fill_in_gap":
            self.fill_everything(fault)
        return len(hit)

    def fill_everything(self, fault: Fault) -> None:
        """Fill every open order of the accounts that a fault concerns, at once."""
        now_ns = self.clock.now_ns()
        for account in self.engine.accounts.values():
            if not fault.concerns(feed_name(account.kind), account.key):
                continue
            for order in list(account.working.values()):
                if not order.open or order.role != "simple":
                    continue
                try:
                    force(self.engine, account, order, "fill", now_ns)
                except Refusal:
                    pass  # it has no price, or waits to replace another
        self.pump()

    def as_dict(self) -> dict[str, Any]:
        return self.ledger.as_dict(list(self.engine.accounts.values()))

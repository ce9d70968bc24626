"""The order side put together: accounts, their feeds and sources, and the one journal of all."""

from __future__ import annotations

import asyncio
import hmac
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

import structlog

from stream_proxy.config.schema import Settings
from stream_proxy.errors import SettingsError
from stream_proxy.feed.orders import Account, Environment, OrderFeed
from stream_proxy.outlets.orders import Dialect, OrderPath
from stream_proxy.runtime.clock import Clock
from stream_proxy.runtime.tracing import NO_TRACER, Tracer
from stream_proxy.runtime.turns import Turns
from stream_proxy.sources.connector import Connect
from stream_proxy.sources.trading.rest import (
    HttpTradingRest,
    RestFactory,
    RestFailed,
    TradingRest,
)
from stream_proxy.sources.trading.stream import TradingSource, TradingTimings
from stream_proxy.state.journal import Journal, JournalDamaged, JournalError, Pruned
from stream_proxy.state.journal_writer import JournalWriter
from stream_proxy.wire.alpaca.requests import Credentials

JOURNAL_FILE = "orders.sqlite3"
_FIRST_PRUNE_SECONDS, _PRUNE_SECONDS = 60, 3600
_CURSORS_FORGOTTEN_AFTER = 4
"""So many times the time after which a cursor holds nothing back."""
_DAY_NS = 24 * 3600 * 1_000_000_000


@dataclass(frozen=True, slots=True)
class AccountAccess:
    """An account and how to reach it."""

    account: Account
    credentials: Credentials
    stream_url: str
    rest_url: str


@dataclass(slots=True)
class _Running:
    feed: OrderFeed
    source: TradingSource
    rest: TradingRest
    task: asyncio.Task[None]


class OrderDesk:
    """Serves the order updates of all accounts.

    Args:
        on_trouble: called when the journal can't be written, and when it can again.

    Attributes:
        trouble: why the journal can't be used; None while it can.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock,
        random: Random,
        connect: Connect,
        rest_for: RestFactory | None = None,
        on_trouble: Callable[[], None] = lambda: None,
        tracer: Tracer = NO_TRACER,
    ) -> None:
        self.accounts = {access.account.name: access for access in accounts_of(settings)}
        self.trouble: JournalError | None = None
        self._settings = settings
        self._clock = clock
        self._random = random
        self._connect = connect
        self._rest_for = rest_for or partial(HttpTradingRest, tracer=tracer)
        self._tracer = tracer
        self._on_trouble = on_trouble
        self._log = structlog.get_logger("stream_proxy.orders")
        self._writer: JournalWriter | None = None
        self._running: dict[str, _Running] = {}
        self._listers: dict[str, TradingRest] = {}
        self._opened = asyncio.Event()
        self._pruning: asyncio.Task[None] | None = None

    # Life

    def start(self) -> None:
        """Connect the accounts that have a record, or all of them if that is wanted.

        While the journal can't be used, the order side alone stands still, and says so.
        """
        mode = self._settings.orders
        if mode == "off" or not self.accounts:
            return
        if mode == "on":
            names = list(self.accounts)
        elif journal_path(self._settings).exists():
            names = []
            self._open().submit(Journal.accounts, self._resume)
        else:
            names = []
        for name in names:
            self.feed(name)

    def _resume(self, recorded: list[str]) -> None:
        for name in recorded:
            if name in self.accounts:
                self.feed(name)

    async def stop_upstream(self) -> None:
        """Free the accounts' slots with close frames; what has come is still kept and passed on."""
        await asyncio.gather(*(account.source.stop() for account in self._running.values()))

    async def stop(self) -> None:
        """Wait for the accounts' streams to end, then close the journal."""
        await self.stop_upstream()
        if self._pruning is not None:
            self._pruning.cancel()
        running = list(self._running.values())
        if running:
            patience = 6 if self._opened.is_set() else 0
            _, hanging = await asyncio.wait([a.task for a in running], timeout=patience)
            for task in hanging:
                task.cancel()
        for account in running:
            await account.rest.close()
        for lister in self._listers.values():
            await lister.close()
        if self._writer is not None:
            await asyncio.to_thread(self._writer.stop)
            self._writer = None

    @property
    def feeds(self) -> dict[str, OrderFeed]:
        """The feeds that were started, by account."""
        return {name: running.feed for name, running in self._running.items()}

    async def option_contracts(self, underlying: str) -> list[str]:
        """The option contracts of an underlying, as the trading REST of any account lists them.

        None are given where there are no keys, or REST doesn't answer.
        """
        for name, access in self.accounts.items():
            # The account's own, where it runs: its budget counts all that is asked of Alpaca.
            running = self._running.get(name)
            rest = running.rest if running is not None else self._lister(name, access)
            try:
                return await rest.option_contracts(underlying)
            except RestFailed as failure:
                self._log.warning("options.not_listed", reason=str(failure))
        return []

    def _lister(self, name: str, access: AccountAccess) -> TradingRest:
        """REST of an account that nobody asked for yet."""
        if name not in self._listers:
            self._listers[name] = self._rest_for(access.rest_url, access.credentials)
        return self._listers[name]

    @property
    def journal_waiting(self) -> int:
        """Jobs that aren't durable yet."""
        return 0 if self._writer is None else self._writer.waiting

    @property
    def journal_commits(self) -> int:
        """Transactions since the start."""
        return 0 if self._writer is None else self._writer.commits

    @property
    def unusable(self) -> str:
        """Why no order update can be served at all; empty if they can, or only have to wait."""
        hopeless = isinstance(self.trouble, JournalDamaged) or not self._opened.is_set()
        return str(self.trouble) if self.trouble is not None and hopeless else ""

    def feed(self, name: str) -> OrderFeed:
        """An account's feed; its upstream is connected as soon as the journal is open."""
        if name not in self._running:
            self._running[name] = self._start(self.accounts[name], self._open())
        return self._running[name].feed

    def _open(self) -> JournalWriter:
        if self._writer is None:
            loop = asyncio.get_running_loop()
            self._writer = JournalWriter(
                partial(_open_journal, journal_path(self._settings)),
                Turns(loop).post,
                self._journal_trouble,
            )
            self._writer.start()
            self._writer.submit(lambda journal: None, lambda nothing: self._opened.set())
            self._pruning = loop.create_task(self._prune_for_ever())
        return self._writer

    def _start(self, access: AccountAccess, writer: JournalWriter) -> _Running:
        feed = OrderFeed(access.account, writer, self._clock)
        feed.trouble = self.trouble
        feed.open()
        rest = self._lister(access.account.name, access)
        del self._listers[access.account.name]
        source = TradingSource(
            feed,
            access.stream_url,
            access.credentials,
            rest,
            connect=self._connect,
            clock=self._clock,
            random=self._random,
            timings=_timings(self._settings),
            tracer=self._tracer,
        )
        task = asyncio.get_running_loop().create_task(self._run(source))
        return _Running(feed, source, rest, task)

    async def _run(self, source: TradingSource) -> None:
        # What can't be kept isn't asked for.
        await self._opened.wait()
        await source.run()

    def _journal_trouble(self, error: JournalError | None) -> None:
        self.trouble = error
        if error is None:
            self._log.warning("journal.works_again", meaning="what waited is passed on now")
        else:
            self._log.error("journal.failed", reason=str(error))
        for running in self._running.values():
            running.feed.trouble = error
        self._on_trouble()

    async def _prune_for_ever(self) -> None:
        seconds = _FIRST_PRUNE_SECONDS
        while True:
            await asyncio.sleep(seconds)
            seconds = _PRUNE_SECONDS
            for name in self._running:
                self._prune(name)

    def _prune(self, name: str) -> None:
        """Forget what is too old, in portions."""
        settings, now_ns = self._settings, self._clock.now_ns()
        before_ns = now_ns - int(settings.order_retention_days * _DAY_NS)
        seen_ns = now_ns - int(settings.cursor_retention_days * _DAY_NS)

        def work(journal: Journal) -> Pruned:
            return journal.prune(
                name,
                before_ns=before_ns,
                keep=settings.order_retention_events,
                cursors_seen_since_ns=seen_ns,
                cursors_before_ns=now_ns - _CURSORS_FORGOTTEN_AFTER * (now_ns - seen_ns),
            )

        def done(pruned: Pruned) -> None:
            if pruned.forgotten:
                self._log.info("journal.pruned", account=name, events=pruned.forgotten)
            for cursor in pruned.overtaken:
                self._log.warning(
                    "journal.cursor_overtaken",
                    account=name,
                    cursor=cursor,
                    meaning="it was not seen for long and will be told that events are gone",
                )
            if pruned.more:
                self._prune(name)

        if self._writer is not None:
            self._writer.submit(work, done, patient=True)

    # Paths

    def path(self, path: str) -> OrderPath | None:
        """What a path leads to; None if it isn't about orders."""
        if self._settings.orders == "off":
            return None
        found = self._parse(path.rstrip("/"))
        if found is None:
            return None
        name, dialect = found
        if name and name not in self.accounts:
            return OrderPath(name, dialect, _missing(name), lambda credentials: _missing(name))
        if not self.accounts:
            return OrderPath("", dialect, _missing("paper"), lambda credentials: _missing("paper"))
        return OrderPath(name, dialect, "", partial(self._feed_for, name))

    def _parse(self, path: str) -> tuple[str, Dialect] | None:
        """The account, or empty for the default one, and the dialect of a path."""
        names = {*self.accounts, *(environment.value for environment in Environment)}
        if path == "/stream":
            return "", Dialect.ALPACA
        for name in names:
            if path == f"/{name}/stream":
                return name, Dialect.ALPACA
            if path in (f"/{name}", f"/trade-updates-{name}"):
                return name, Dialect.PLAIN
        return None

    def _feed_for(self, name: str, credentials: Credentials) -> OrderFeed | str:
        if self.unusable:
            return f"order updates can't be served: {self.unusable}"
        return self.feed(name or self._default(credentials))

    def _default(self, credentials: Credentials) -> str:
        """The account whose key the client shows, else the environment's, else any."""
        for name, access in self.accounts.items():
            if hmac.compare_digest(access.credentials.key.encode(), credentials.key.encode()):
                return name
        if self._settings.environment in self.accounts:
            return self._settings.environment
        return next(iter(self.accounts))


def accounts_of(settings: Settings) -> list[AccountAccess]:
    """The accounts that credentials are configured for.

    Raises:
        SettingsError: two of them are the same.
    """
    keys: dict[str, tuple[str, str, Environment]] = {}
    if settings.key is not None and settings.secret is not None:
        keys[settings.environment] = (
            settings.key.get_secret_value(),
            settings.secret.get_secret_value(),
            Environment(settings.environment),
        )
    if settings.live_key is not None and settings.live_secret is not None:
        keys["live"] = (
            settings.live_key.get_secret_value(),
            settings.live_secret.get_secret_value(),
            Environment.LIVE,
        )
    for name, account in settings.accounts.items():
        keys[name] = (
            account.key.get_secret_value(),
            account.secret.get_secret_value(),
            Environment(account.environment),
        )
    _expect_different(keys)
    return [
        AccountAccess(
            Account(name, environment),
            Credentials(key, secret),
            *_addresses(settings, environment),
        )
        for name, (key, secret, environment) in keys.items()
    ]


def _expect_different(keys: dict[str, tuple[str, str, Environment]]) -> None:
    """Alpaca allows one connection an account, so two names must not mean the same."""
    names: dict[str, str] = {}
    for name, (key, _, _) in keys.items():
        first = names.setdefault(key, name)
        if first != name:
            raise SettingsError(
                [
                    f"accounts: {first} and {name} have the same key, and Alpaca allows one "
                    "connection an account. Remove one of them, or give it its own key"
                ]
            )


def _addresses(settings: Settings, environment: Environment) -> tuple[str, str]:
    if environment is Environment.LIVE:
        return settings.live_stream_url, settings.live_api_url
    return settings.paper_stream_url, settings.paper_api_url


def journal_path(settings: Settings) -> Path:
    """Where the order journal lies."""
    return settings.state_dir / JOURNAL_FILE


def _make_folder(folder: Path) -> None:
    """Make a folder that is still there after a power failure: its entry is synchronised too."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    entry = os.open(folder.parent, os.O_RDONLY)
    try:
        os.fsync(entry)
    finally:
        os.close(entry)


def _open_journal(path: Path, rewrite: bool) -> Journal:
    try:
        _make_folder(path.parent)
        path.touch(mode=0o600)  # what was traded is nobody else's business
    except OSError as error:
        raise JournalError(
            f"{path} can't be made ({error.strerror}), so no order update can be served. Make its "
            "folder writable, or name another with STREAM_PROXY_STATE_DIR."
        ) from None
    return Journal(path, new_epoch=lambda: secrets.token_hex(6), rewrite=rewrite)


def _missing(name: str) -> str:
    if name == "live":
        return (
            "no credentials for the live account: set ALPACA_LIVE_API_KEY and "
            "ALPACA_LIVE_SECRET_KEY and restart the proxy"
        )
    return (
        f"no credentials for the {name} account: set ALPACA_API_KEY and ALPACA_SECRET_KEY and "
        "restart the proxy"
    )


def _timings(settings: Settings) -> TradingTimings:
    return TradingTimings(
        connect_seconds=settings.connect_timeout_seconds,
        handshake_seconds=settings.handshake_timeout_seconds,
        ping_seconds=settings.ping_interval_seconds,
        pong_seconds=settings.pong_timeout_seconds,
        probe_seconds=settings.order_probe_seconds,
        probe_answer_seconds=settings.acknowledgement_timeout_seconds,
        backoff_initial_seconds=settings.backoff_initial_seconds,
        backoff_max_seconds=settings.backoff_max_seconds,
        hold_seconds=settings.order_hold_seconds,
        reconcile_seconds=settings.reconcile_seconds,
    )

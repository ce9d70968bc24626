"""Where in an account's record a consumer wants to go on, and whether that can be."""

from __future__ import annotations

from dataclasses import dataclass

from stream_proxy.model.time import parse_rfc3339, rfc3339
from stream_proxy.state.journal import AccountState, Journal

ULID_LENGTH = 26
NOW, OLDEST = "now", "oldest"


@dataclass(frozen=True, slots=True)
class Start:
    """What a consumer asked for.

    Attributes:
        cursor: the name of its durable position, or empty.
        since: ``now``, ``oldest``, a sequence, ``epoch:sequence``, an event id or an RFC 3339
            time; empty for the cursor's position, and without a cursor for now. It goes before
            the cursor.
        epoch: the numbering that its position belongs to, if it says so.
    """

    cursor: str = ""
    since: str = ""
    epoch: str = ""


@dataclass(frozen=True, slots=True)
class Joined:
    """Where a consumer goes on.

    Attributes:
        state: the account's record then.
        position: the sequence behind which it is served.
        new: whether its cursor wasn't known, so that it begins where it is put, not where it was.
    """

    state: AccountState
    position: int
    new: bool = False


@dataclass(frozen=True, slots=True)
class CannotResume:
    """A position that can't be honoured, and why.

    Attributes:
        unreadable: it is none at all, whatever the record holds.
    """

    reason: str
    unreadable: bool = False


def join(
    journal: Journal, account: str, start: Start, now_ns: int, now_sequence: int
) -> Joined | CannotResume:
    """Find where a consumer goes on; what a new cursor hasn't acknowledged is kept from there.

    Args:
        now_ns, now_sequence: when it asked, and the last event then; the journal may be further.
    """
    state = journal.account(account)
    after = locate(journal, state, start, now_sequence)
    if isinstance(after, CannotResume) or not start.cursor:
        return after if isinstance(after, CannotResume) else Joined(state, after)
    new = journal.cursor(account, start.cursor) is None
    # One that is known is only seen: where it stands, its consumer alone says.
    journal.acknowledge(account, start.cursor, after if new else 0, now_ns)
    return Joined(state, after, new)


def locate(
    journal: Journal, state: AccountState, start: Start, now_sequence: int
) -> int | CannotResume:
    """Give the sequence behind which the consumer goes on."""
    now = max(min(now_sequence, state.last_sequence), state.first_sequence - 1)
    if start.epoch and start.epoch != state.epoch:
        return _over(state, start.epoch)
    if start.since:
        return now if start.since == NOW else _since(journal, state, start.since)
    if start.cursor:
        position = journal.cursor(state.account, start.cursor)
        if position is not None:
            return _checked(state, position, f"cursor {start.cursor}")
    return now


def _since(journal: Journal, state: AccountState, since: str) -> int | CannotResume:
    if since == OLDEST:
        return state.first_sequence - 1
    if since.isascii() and since.isdigit() and len(since) < ULID_LENGTH:
        return _checked(state, int(since), "since")
    if len(since) == ULID_LENGTH and since.isalnum():
        found = journal.sequence_of_event(state.account, since)
        if found is None:
            return CannotResume(f"event {since} isn't in the record. {_extent(state)}")
        return found
    epoch, separator, sequence = since.rpartition(":")
    if separator and sequence.isdigit() and epoch == state.epoch:
        return _checked(state, int(sequence), "since")
    try:
        instant_ns = parse_rfc3339(since)
    except ValueError:
        if separator and sequence.isdigit():
            return _over(state, epoch)
        return CannotResume(
            f"since={since[:40]} is no sequence, event id, RFC 3339 time, `now` or `oldest`",
            unreadable=True,
        )
    if instant_ns < state.since_ns:
        return CannotResume(
            f"the record begins at {rfc3339(state.since_ns)}, after {since}. {_extent(state)}"
        )
    return _checked(state, journal.sequence_before(state.account, instant_ns), "since")


def _over(state: AccountState, epoch: str) -> CannotResume:
    return CannotResume(f"epoch {epoch[:40]} is over: the journal was begun anew. {_extent(state)}")


def _checked(state: AccountState, position: int, what: str) -> int | CannotResume:
    if position > state.last_sequence:
        return CannotResume(
            f"{what} is at {position}, ahead of the record: it belongs to another epoch. "
            f"{_extent(state)}"
        )
    if position < state.first_sequence - 1:
        return CannotResume(
            f"{what} is at {position}, and events {position + 1} to {state.first_sequence - 1} "
            f"are not kept any more. {_extent(state)}"
        )
    return position


def _extent(state: AccountState) -> str:
    return (
        f"Kept are {state.first_sequence} to {state.last_sequence} of epoch {state.epoch}; "
        "since=oldest takes them all, since=now none"
    )

"""Making room where a plan's limit is reached: what nobody wants goes, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable

from stream_proxy.hub.demand import Demand, Topic
from stream_proxy.model.topics import SubscriptionSet

FULL = "full"


class Plan:
    """Upstream with room for so many topics."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.held: set[Topic] = set()
        self.answers: list[str | None] = []
        self.revoked: list[Topic] = []
        self.demand: Demand[str] = Demand(
            frozenset({"trades", "bars"}),
            missing="left out",
            room_helps=lambda refusal: refusal == FULL,
            on_revoked=lambda topic, refusal: self.revoked.append(topic),
            linger_ns=1000,
        )
        self.demand.connected()

    def want(self, *topics: Topic) -> None:
        self.demand.acquire(SubscriptionSet.of(topics), self.answers.append)

    def leave(self, *topics: Topic) -> None:
        self.demand.release(SubscriptionSet.of(topics), now_ns=0)

    def talk(self, now_ns: int = 0) -> list[set[Topic]]:
        """Answer all there is; give what was held after each message."""
        history = []
        while (step := self.demand.next_step(now_ns)) is not None:
            after = self._after(set(step.topics), step.add)
            if len(after) > self.most:
                self.demand.refused(FULL)
                continue
            self.held = after
            history.append(after)
            self.demand.acknowledged(SubscriptionSet.of(sorted(after)))
        return history

    def _after(self, topics: Iterable[Topic], add: bool) -> set[Topic]:
        return self.held.union(topics) if add else self.held.difference(topics)


def covers(held: set[Topic], topic: Topic) -> bool:
    return SubscriptionSet.of(sorted(held)).covers(*topic)


def test_a_name_stays_until_the_wildcard_that_covers_it_is_confirmed() -> None:
    plan = Plan(most=2)
    plan.want(("bars", "AAPL"))
    plan.want(("trades", "IBM"))
    plan.talk()
    plan.leave(("trades", "IBM"))
    plan.want(("bars", "*"))

    history = plan.talk()

    assert all(covers(held, ("bars", "AAPL")) for held in history)
    assert plan.held == {("bars", "*")}
    assert plan.answers == [None, None, None]


def test_a_wildcard_stays_until_the_names_behind_it_are_confirmed() -> None:
    for most, stays in ((3, {("trades", "*")}), (4, {("trades", "AAPL")})):
        plan = Plan(most)
        plan.want(("trades", "*"))
        plan.want(("trades", "AAPL"))
        plan.want(("bars", "IBM"))
        plan.talk()
        plan.leave(("trades", "*"), ("bars", "IBM"))
        plan.want(("bars", "AAPL"), ("bars", "MSFT"))

        history = plan.talk(now_ns=2000)

        assert all(covers(held, ("trades", "AAPL")) for held in history)
        assert plan.held == stays | {("bars", "AAPL"), ("bars", "MSFT")}
        assert plan.answers[-1] is None and not plan.revoked


def test_what_finds_no_room_is_refused_and_costs_nobody_anything() -> None:
    plan = Plan(most=1)
    plan.want(("bars", "AAPL"))
    plan.talk()
    plan.want(("bars", "*"))

    plan.talk()

    assert plan.held == {("bars", "AAPL")}
    assert plan.answers == [None, FULL]


def kept_wide() -> Plan:
    """Names are wanted, and ``*`` is held since there is no room for these."""
    plan = Plan(most=3)
    plan.want(("trades", "*"))
    plan.want(("trades", "AAPL"))
    plan.want(("bars", "AAPL"), ("bars", "MSFT"))
    plan.talk()
    plan.leave(("trades", "*"))
    plan.want(("trades", "IBM"))
    plan.talk(now_ns=2000)
    assert plan.held == {("trades", "*"), ("bars", "AAPL"), ("bars", "MSFT")}
    assert plan.answers == [None] * 4
    return plan


def test_names_are_tried_again_once_there_may_be_room() -> None:
    plan = kept_wide()
    plan.leave(("bars", "AAPL"), ("bars", "MSFT"))
    history = plan.talk(now_ns=9000)
    assert all(covers(held, ("trades", "AAPL")) for held in history)
    assert plan.held == {("trades", "AAPL"), ("trades", "IBM")}


def test_a_wildcard_that_was_kept_is_not_asked_for_again() -> None:
    for reconnect in (True, False):
        plan = kept_wide()
        plan.leave(("trades", "AAPL"), ("trades", "IBM"), ("bars", "AAPL"), ("bars", "MSFT"))
        plan.talk(now_ns=9000)
        if reconnect:
            plan.demand.disconnected()
            plan.held = set()
            plan.demand.connected()
        plan.want(("trades", "AAPL"))
        plan.talk(now_ns=9000)
        assert plan.held == {("trades", "AAPL")}


def test_what_was_on_its_way_out_and_stays_answers_who_came_back() -> None:
    """Upstream refuses to take a topic back: whoever asked for it meanwhile has it."""
    plan = Plan(most=3)
    plan.want(("trades", "AAPL"))
    plan.talk()
    plan.leave(("trades", "AAPL"))
    step = plan.demand.next_step(now_ns=2000)
    assert step is not None and not step.add
    plan.want(("trades", "AAPL"))
    assert plan.answers == [None]
    plan.demand.refused("not understood")
    assert plan.answers == [None, None]

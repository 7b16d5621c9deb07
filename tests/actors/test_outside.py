"""Outside events become incidents, are verified by the word of who reported them, and survive every crash."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from actors.correlation import CorrelationActor
from actors.journal import JournalActor
from actors.outside import OutsideEvents
from sentinel.adapters.in_memory_events import InMemoryEventStore
from sentinel.adapters.slack_card import card
from sentinel.clock import iso
from sentinel.detection.anomaly import Condition
from sentinel.errors import Overloaded, SentinelError, Unavailable
from sentinel.incidents.nouns import Incident, IncidentState, PlanState, Principal
from sentinel.ports import Pending, Standing
from sentinel.remediation.approval import Provenance
from sentinel.remediation.runbooks import Runbook, Use
from sentinel.telemetry.alertmanager import decode_api
from sentinel.telemetry.change_events import decode_changes
from sentinel.telemetry.events import Event
from tests.actors.rig import POLICY, SHOP, Killed, Proxy, Rig, anomaly
from tests.unit.incidents.make import CLUSTER, T0
from tests.unit.telemetry.test_alertmanager import alert as posted

ERRORS = "HighErrorRate"
SCALE = Runbook(
    name="scale-on-errors",
    kind="errors",
    uses=(Use(action="ecs.scale_service", params={"cluster": CLUSTER, "service": "{service}", "desired_count": 4}),),
)


def event(
    name: str = ERRORS,
    service: str = "checkout",
    *,
    started_s: float = -5,
    ended_s: float | None = None,
    severity: str = "critical",
) -> Event:
    """What Prometheus posts of an alert, in seconds after T0; resolved if it has an end."""
    body = posted(
        labels={"alertname": name, "service": service, "severity": severity},
        startsAt=iso(T0 + round(started_s * 1000)),
        endsAt=iso(T0 + round((3600 if ended_s is None else ended_s) * 1000)),
    )
    (found,) = decode_api(json.dumps([body]).encode(), ("service",), T0 + round((ended_s or 0) * 1000)).events
    return found


def change(service: str = "checkout", title: str = "deployed v42", at_s: float = -180) -> Event:
    body = {"service": service, "title": title, "at": iso(T0 + round(at_s * 1000))}
    (found,) = decode_changes(json.dumps(body).encode(), {}, ("service",), T0).events
    return found


class World:
    """A rig whose journal keeps events, and the two loops that give them their place, turned by hand."""

    def __init__(self) -> None:
        self.rig = Rig()
        self.store = InMemoryEventStore()
        self.restart()

    def restart(self, journal: Any = None) -> None:
        """A new process: what was in memory is gone."""
        self.journal: Any = JournalActor(self.rig.store, self.store)
        self.rig.journal = self.journal
        given = journal or self.journal
        self.correlation = CorrelationActor(
            journal=given,
            detectors=self.rig.book,
            memory=self.rig.memory,
            topology=SHOP,
            policy=POLICY,
            clock=self.rig.clock,
            events=given,
        )
        self.outside = OutsideEvents(journal=given, events=given, room=self.correlation, clock=self.rig.clock)

    async def receive(self, *events: Event) -> None:
        await self.journal.receive(events, self.rig.clock.now_ms())

    async def turn(self) -> None:
        """One look, one grouping, one more look."""
        await self.outside.look()
        await self.correlation.group()
        await self.outside.look()

    def pending(self) -> list[Pending]:
        return self.store.pending(1000)

    async def incidents(self) -> list[Incident]:
        found: list[Incident] = await JournalActor(self.rig.store).incidents()
        return found

    async def only(self) -> Incident:
        (found,) = await self.incidents()
        return found


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    assert made.rig.chain_holds()


async def test_an_alert_of_another_system_is_an_incident(world: World) -> None:
    await world.receive(event())
    await world.turn()
    incident = await world.only()
    assert incident.title == "checkout: HighErrorRate"
    (alert,) = incident.alerts
    assert (alert.origin, alert.value, alert.kind, alert.open) == ("alertmanager", None, "errors", True)
    assert world.pending() == []
    assert world.store.standing() == {"alertmanager": Standing(placed=1)}


async def test_it_is_pending_until_a_fact_names_it(world: World) -> None:
    await world.receive(event())
    await world.outside.look()
    assert len(world.pending()) == 1
    await world.correlation.group()
    assert len(world.pending()) == 1
    await world.outside.look()
    assert world.pending() == []


async def test_it_joins_what_the_detectors_found(world: World) -> None:
    await world.receive(event("CheckoutDown"))
    await world.outside.look()
    await world.correlation.submit([anomaly("checkout"), anomaly("payments", "cpu_usage")])
    await world.correlation.group()
    await world.outside.look()
    incident = await world.only()
    assert {alert.origin for alert in incident.alerts} == {"detector", "alertmanager"}
    await world.receive(event("SecondAlert"))
    await world.turn()
    assert len((await world.only()).alerts) == 4


async def test_a_resolution_ends_its_alert_and_then_the_incident(world: World) -> None:
    await world.receive(event())
    await world.turn()
    await world.receive(event(ended_s=30))
    await world.turn()
    incident = await world.only()
    assert [alert.ended_at_ms for alert in incident.alerts] == [T0 + 30_000]
    assert (await world.rig.kinds(incident.id))[-1] == "alert_cleared"
    assert world.pending() == []
    world.rig.clock.advance(61)
    await world.correlation.settle(incident)
    assert (await world.only()).state is IncidentState.RESOLVED


async def test_the_detectors_are_not_asked_of_it(world: World) -> None:
    await world.receive(event())
    await world.turn()
    world.rig.book.otherwise = Condition.NORMAL
    await world.correlation.settle(await world.only())
    assert (await world.only()).alerts[0].open
    assert world.rig.book.asked == []


async def test_beginning_and_end_in_one_body_are_both_told(world: World) -> None:
    await world.receive(event(), event(ended_s=20))
    await world.outside.look()
    assert len(world.pending()) == 2, "an end waits until its beginning has a place"
    await world.correlation.group()
    await world.outside.look()
    (alert,) = (await world.only()).alerts
    assert alert.ended_at_ms == T0 + 20_000
    assert world.pending() == []


async def test_an_end_of_what_never_began_here_opens_nothing(world: World) -> None:
    await world.receive(event(ended_s=20))
    await world.turn()
    assert (await world.incidents(), world.pending()) == ([], [])


async def test_an_end_of_an_earlier_span_does_not_end_a_later_one(world: World) -> None:
    await world.receive(event(started_s=-500))
    await world.turn()
    await world.receive(event(started_s=-5))
    await world.turn()
    await world.receive(event(started_s=-500, ended_s=-100))
    await world.turn()
    (alert,) = (await world.only()).alerts
    assert alert.open
    assert world.pending() == []


async def test_many_ends_of_one_incident_are_one_look(world: World) -> None:
    names = [f"Alert{n}" for n in range(20)]
    await world.receive(*(event(name) for name in names))
    await world.turn()
    await world.receive(*(event(name, ended_s=9) for name in names))
    await world.outside.look()
    assert world.pending() == []
    assert not any(alert.open for alert in (await world.only()).alerts)


async def test_what_is_only_information_opens_nothing_and_does_not_wait(world: World) -> None:
    await world.receive(event("Watchdog", severity="none"))
    await world.outside.look()
    assert len(world.pending()) == 1
    await world.correlation.group()
    await world.outside.look()
    assert (await world.incidents(), world.pending()) == ([], [])


async def test_what_cannot_be_read_is_a_dead_letter_and_holds_up_nobody(world: World) -> None:
    class Poisoned(InMemoryEventStore):
        """One with a row of another version."""

        def pending(self, limit: int) -> list[Pending]:
            found = super().pending(limit)
            return [
                Pending(position=each.position, event=None, fault="shape 9")
                if each.event and each.event.title == "Poison"
                else each
                for each in found
            ]

    world.store = Poisoned()
    world.restart()
    await world.receive(event("Poison"), event())
    await world.turn()
    assert (await world.only()).title == "checkout: HighErrorRate"
    (letter,) = world.store.dead_letters(10)
    assert letter.reason == "shape 9"
    assert world.store.standing() == {"alertmanager": Standing(placed=1, dead=1)}


async def test_changes_before_an_incident_are_told_and_weigh(world: World) -> None:
    await world.receive(
        change(), change("web", "flag on", -60), change(title="long ago", at_s=-3000), change(title="later", at_s=-1)
    )
    await world.receive(event(started_s=-5))
    await world.turn()
    incident = await world.only()
    assert [each.title for each in incident.changes] == ["deployed v42"]
    assert incident.suspects[0].reasons[0] == "deployed v42, 2 min before (change)"
    blocks, _ = card(incident, public_url="")
    assert any("deployed v42 on checkout" in str(block) for block in blocks)
    assert world.pending() == []


async def test_a_store_that_is_away_only_delays(world: World) -> None:
    class Away(InMemoryEventStore):
        error: SentinelError | None = None

        def pending(self, limit: int) -> list[Pending]:
            if self.error:
                raise self.error
            return super().pending(limit)

    world.store = store = Away()
    world.restart()
    await world.receive(event())
    store.error = Unavailable("down")
    with pytest.raises(Unavailable):
        await world.outside.look()
    store.error = None
    await world.turn()
    assert len(await world.incidents()) == 1


async def test_a_storm_is_refused_and_not_lost_halfway(world: World) -> None:
    calls = (world.receive(event(f"Alert{n}")) for n in range(300))
    answers = await asyncio.gather(*calls, return_exceptions=True)
    refused = [answer for answer in answers if answer is not None]
    assert refused
    assert all(isinstance(answer, Overloaded) for answer in refused)
    assert len(world.pending()) == 300 - len(refused)
    await world.receive(event("after the storm"))


async def test_a_journal_without_a_store_says_so(world: World) -> None:
    with pytest.raises(Unavailable, match="keeps no outside events"):
        await JournalActor(world.rig.store).receive([event()], T0)


# --- crashes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["firing", "resolved"])
async def test_it_dies_at_every_point_and_nothing_is_lost_or_told_twice(status: str) -> None:
    died = 0
    for at in range(1000):
        world = World()
        if status == "resolved":
            await world.receive(event())
            await world.turn()
        await world.receive(change(), event(ended_s=9 if status == "resolved" else None))
        passed: list[str] = []

        def fuse(name: str, passed: list[str] = passed, at: int = at) -> None:
            passed.append(name)
            if len(passed) > at:
                raise Killed(name)

        world.restart(Proxy(world.journal, before=fuse, after=fuse))
        try:
            await world.turn()
        except Killed:
            died += 1
        else:
            assert died > 6, "the fuse is in the way of the work"
            break
        world.restart()
        for _ in range(3):
            await world.turn()
        incident = await world.only()
        assert (await world.rig.kinds(incident.id)).count("incident_opened") == 1
        assert (await world.rig.kinds(incident.id)).count("alert_cleared") == (status == "resolved")
        assert world.pending() == []
        assert world.rig.chain_holds()


# --- a whole story ----------------------------------------------------------------------------------------------


ANN = Principal(id="api:ann", name="Ann", via="api")


async def planned(world: World) -> Incident:
    """The incident of an alert that only Alertmanager reported, with its plan approved."""
    await world.receive(event())
    await world.turn()
    approval = world.rig.approval(runbooks=(SCALE,), cards=False)
    for _ in range(2):
        await approval.settle(await world.only())
    plan = (await world.only()).plans[0].plan
    assert plan.reason == "checkout is suspected and HighErrorRate fires in alertmanager"
    said = await approval.decide(
        plan.plan_id, plan.digest, "approve", ANN, "", Provenance(method="API key", evidence="test")
    )
    assert "approved" in said
    return await world.only()


async def test_a_fault_that_only_alertmanager_reports_is_mended_and_verified_by_its_resolution(world: World) -> None:
    incident = await planned(world)
    looked = 0

    class Journal:
        """The journal, beside which Alertmanager resolves the alert at the third look at a verifying plan."""

        def __getattr__(self, name: str) -> Any:
            return getattr(world.journal, name)

        async def incident(self, incident_id: Any) -> Incident | None:
            nonlocal looked
            found: Incident | None = await world.journal.incident(incident_id)
            if found and found.plans[0].state is PlanState.VERIFYING:
                looked += 1
                if looked == 3:
                    await world.receive(event(ended_s=40))
                    await world.outside.look()
                    found = await world.journal.incident(incident_id)
            return found

    execution = world.rig.execution(journal=Journal())
    await execution.carry_out(incident.id, incident.plans[0].plan.plan_id)
    incident = await world.only()
    assert len(world.rig.cloud.sent) == 1
    assert looked >= 3, "while the alert fired, the plan was not verified"
    assert incident.plans[0].state is PlanState.SUCCEEDED
    assert incident.state is IncidentState.RESOLVED


async def test_an_alert_that_nobody_resolves_is_never_a_success(world: World) -> None:
    incident = await planned(world)
    world.rig.book.otherwise = Condition.NORMAL  # what detectors say of a series they do not know counts for nothing
    await world.rig.execution().carry_out(incident.id, incident.plans[0].plan.plan_id)
    incident = await world.only()
    assert incident.plans[0].state is PlanState.ROLLED_BACK
    assert incident.state is IncidentState.ESCALATED
    assert [step.params["desired_count"] for step, _ in world.rig.cloud.sent] == [4, 2]


async def test_an_alert_that_fires_longer_than_events_are_kept_opens_nothing_anew(world: World) -> None:
    await world.receive(event())
    await world.turn()
    opened = await world.only()
    world.rig.clock.advance(31 * 86_400_000)
    await world.outside.forget()
    assert world.store.standing() == {}
    await world.receive(event())
    await world.turn()
    assert (await world.only()).id == opened.id
    assert world.pending() == []
    await world.outside.forget()
    assert world.store.standing()["alertmanager"].placed == 1, "it is kept for another 30 days"

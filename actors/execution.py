"""Execution: carries approved plans out, verifies with the detector, and undoes what did not help."""

import asyncio
from collections.abc import Callable

import structlog

from actors.api import Detectors, Journal
from actors.following import follow
from actors.step_work import StepWork
from actors.steps import StepRunner
from sentinel import crash_points
from sentinel.clock import Clock
from sentinel.correlation.alerts import word_of
from sentinel.detection.anomaly import SeriesHealth
from sentinel.errors import Conflict, Held, SentinelError
from sentinel.ids import Fingerprint, IncidentId, PlanId
from sentinel.incidents import facts as f
from sentinel.incidents.nouns import Incident, PlanRecord, PlanState
from sentinel.remediation import stepper
from sentinel.remediation.safety import Limits

_OURS = frozenset({PlanState.APPROVED, PlanState.EXECUTING, PlanState.VERIFYING, PlanState.ROLLING_BACK})
log = structlog.get_logger(__name__)


class ExecutionActor:
    """Hard state: none; the journal holds every intent and outcome. Soft state: which plans have a task here.

    The journal's sequence is the fence: whoever lost a plan to another process can record nothing more, and so starts
    nothing more. It does not take the plan back: of two processes that live, the later one has it. `prove` says why
    the record of a plan does not prove its approval. `takeover_s` is how long after a take-over a call of the
    predecessor may still be on its way, `trail_within_s` how long the cloud's own record of calls is asked for one
    whose outcome nothing else tells. What is done with a step is told in `actors.step_work`.
    """

    def __init__(
        self,
        *,
        journal: Journal,
        detectors: Detectors,
        runner: StepRunner,
        limits: Limits,
        prove: Callable[[PlanRecord], str],
        clock: Clock,
        owner: str,
        start_within_ms: int,
        poll_s: float,
        takeover_s: float,
        trail_within_s: float,
    ) -> None:
        self._journal = journal
        self._detectors = detectors
        self._work = StepWork(
            journal=journal,
            runner=runner,
            limits=limits,
            prove=prove,
            clock=clock,
            owner=owner,
            poll_s=poll_s,
            takeover_s=takeover_s,
            trail_within_s=trail_within_s,
        )
        self._clock = clock
        self._owner = owner
        self._start_within_ms = start_within_ms
        self._poll_s = poll_s
        self._tasks: dict[PlanId, asyncio.Task[None]] = {}
        self._claimed: set[PlanId] = set()

    async def run(self) -> None:
        """Take up unfinished plans, then follow the journal for ever."""
        await follow(self._journal, self._clock, "execution", self.settle)

    async def settle(self, incident: Incident) -> None:
        """See that a plan which is the executor's to move has a task that moves it."""
        record = incident.live_plan
        if record is None or record.state not in _OURS or self._lost(record):
            return
        plan_id = record.plan.plan_id
        task = self._tasks.get(plan_id)
        if task is None or task.done():
            self._tasks = {known: each for known, each in self._tasks.items() if not each.done()}
            self._tasks[plan_id] = asyncio.create_task(self.carry_out(incident.id, plan_id), name=plan_id)

    async def carry_out(self, incident_id: IncidentId, plan_id: PlanId) -> None:
        """Move one plan to its end. Every turn reads the journal anew, so any other's entry is honoured."""
        while True:
            try:
                incident = await self._journal.incident(incident_id)
                record = incident.plan(plan_id) if incident else None
                if incident is None or record is None:
                    return
                if self._lost(record):
                    log.warning("another process took the plan over", plan_id=plan_id, owner=record.owner)
                    return
                if record.state in _OURS and record.owner not in (None, self._owner):
                    await self._work.append(incident, f.ExecutionResumed(plan_id=plan_id, owner=self._owner))
                    self._work.taken(plan_id)
                    self._claimed.add(plan_id)
                    continue
                health = await self._health(incident, record) if record.state is PlanState.VERIFYING else []
                move = stepper.next_move(record, health, self._clock.now_ms(), self._start_within_ms)
                if isinstance(move, stepper.Done):
                    return
                await self._do(incident, record, move)
            except Conflict as error:
                log.info("the plan moved on, looking again", plan_id=plan_id, error=str(error))
                await self._clock.sleep(0.05)
            except SentinelError as error:
                log.warning("the plan waits", plan_id=plan_id, error=str(error))
                await self._clock.sleep(self._poll_s)

    async def _do(self, incident: Incident, record: PlanRecord, move: stepper.Move) -> None:
        plan_id, reason = record.plan.plan_id, move.reason
        match move:
            case stepper.Claim():
                await self._claim(incident, record)
            case stepper.Expire():
                await self._work.append(incident, f.PlanExpired(plan_id=plan_id, reason=reason))
            case stepper.RunStep(index=index):
                await self._work.run(incident, record, index)
            case stepper.SettleStep(index=index):
                await self._work.settle(incident, record, index)
            case stepper.StartVerification():
                await self._work.append(incident, f.VerificationStarted(plan_id=plan_id))
            case stepper.Succeed():
                now_ms = self._clock.now_ms()
                facts: list[f.Fact] = [
                    f.AlertCleared(fingerprint=alert.fingerprint, ended_at_ms=now_ms)
                    for alert in incident.alerts
                    if alert.open and alert.fingerprint in record.plan.verify
                ]
                facts.append(f.PlanSucceeded(plan_id=plan_id, reason=reason))
                if all(alert.fingerprint in record.plan.verify for alert in incident.alerts if alert.open):
                    facts.append(f.IncidentResolved(reason=f"{record.plan.runbook} helped: {reason}"))
                await self._work.append(incident, *facts)
            case stepper.GiveUp(undo=undo):
                await self._work.append(incident, f.RollbackStarted(plan_id=plan_id, reason=reason, undo=undo))
            case stepper.UndoStep(index=index):
                await self._work.undo(incident, record, index)
            case stepper.SettleUndo(index=index):
                await self._work.settle_undo(incident, record, index)
            case stepper.FinishUndone():
                await self._work.append(incident, f.PlanRolledBack(plan_id=plan_id, reason=reason))
            case stepper.FinishForPeople():
                await self._work.append(incident, f.PlanRollbackFailed(plan_id=plan_id, reason=reason))
            case _:
                await self._clock.sleep(self._poll_s)

    async def _claim(self, incident: Incident, record: PlanRecord) -> None:
        """Start the plan, or say why it must wait. It is tried again until its approval is too old."""
        plan_id = record.plan.plan_id
        try:
            await self._work.append(incident, f.ExecutionStarted(plan_id=plan_id, owner=self._owner))
        except Held as held:
            if str(held) != record.held_reason:
                await self._work.append(incident, f.PlanHeld(plan_id=plan_id, reason=str(held)))
            # Many may wait at once, and each try is a transaction.
            await self._clock.sleep(3 * self._poll_s)
            return
        self._work.taken(plan_id)
        self._claimed.add(plan_id)

    def _lost(self, record: PlanRecord) -> bool:
        """Whether another process took over a plan that this one had."""
        return record.plan.plan_id in self._claimed and record.owner != self._owner

    async def _health(self, incident: Incident, record: PlanRecord) -> list[SeriesHealth]:
        watched: dict[str, list[Fingerprint]] = {}
        told: list[SeriesHealth] = []
        for alert in incident.alerts:
            if alert.fingerprint in record.plan.verify and alert.from_outside:
                told.append(word_of(alert))
            elif alert.fingerprint in record.plan.verify:
                watched.setdefault(alert.service, []).append(alert.fingerprint)
        crash_points.reached("before health")
        found = [*told, *(await self._detectors.health(watched) if watched else ())]
        crash_points.reached("after health")
        return found

    async def ping(self) -> str:
        """Answers while the actor's loop turns."""
        return "execution"

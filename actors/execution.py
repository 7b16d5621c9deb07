"""Execution: carries approved plans out, verifies with the detector, and undoes what did not help."""

import asyncio

import structlog

from actors.api import Detectors, Journal
from actors.following import follow
from actors.steps import SELF_FENCE_S, Ending, Outcome, StepRunner, shown
from sentinel import ids
from sentinel.clock import Clock
from sentinel.correlation.alerts import word_of
from sentinel.detection.anomaly import SeriesHealth
from sentinel.errors import Conflict, Forbidden, Invalid, OutcomeUnknown, SentinelError, Unavailable
from sentinel.ids import Fingerprint, IncidentId, PlanId
from sentinel.incidents import facts as f
from sentinel.incidents.nouns import SENTINEL, Incident, PlanRecord, PlanState, Step
from sentinel.remediation import stepper
from sentinel.remediation.actions import Settled, Values, action_named
from sentinel.remediation.binding import moved
from sentinel.remediation.planner import digest_of
from sentinel.remediation.safety import Limits, refusal_now

_OURS = frozenset({PlanState.APPROVED, PlanState.EXECUTING, PlanState.VERIFYING, PlanState.ROLLING_BACK})
log = structlog.get_logger(__name__)


class ExecutionActor:
    """Hard state: none; the journal holds every intent and outcome. Soft state: which plans have a task here.

    A step's intent is recorded before its call and its outcome after it. A step found started without an outcome
    is looked at before anything else is done, and only once no call of a predecessor can still be on its way. The
    journal's sequence is the fence: whoever lost a plan to another process can record nothing more, and so starts
    nothing more. It does not take the plan back: of two processes that live, the later one has it.
    """

    def __init__(
        self,
        *,
        journal: Journal,
        detectors: Detectors,
        runner: StepRunner,
        limits: Limits,
        clock: Clock,
        owner: str,
        start_within_ms: int,
        poll_s: float,
    ) -> None:
        self._journal = journal
        self._detectors = detectors
        self._runner = runner
        self._limits = limits
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
                    await self._append(incident, f.ExecutionResumed(plan_id=plan_id, owner=self._owner))
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
                await self._append(incident, f.ExecutionStarted(plan_id=plan_id, owner=self._owner))
                self._claimed.add(plan_id)
            case stepper.Expire():
                await self._append(incident, f.PlanExpired(plan_id=plan_id, reason=reason))
            case stepper.RunStep(index=index):
                await self._run_step(incident, record, index)
            case stepper.SettleStep(index=index):
                await self._settle_step(incident, record, index)
            case stepper.StartVerification():
                await self._append(incident, f.VerificationStarted(plan_id=plan_id))
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
                await self._append(incident, *facts)
            case stepper.GiveUp(undo=undo):
                await self._append(incident, f.RollbackStarted(plan_id=plan_id, reason=reason, undo=undo))
            case stepper.UndoStep(index=index):
                await self._undo_step(incident, record, index)
            case stepper.SettleUndo(index=index):
                await self._settle_undo(incident, record, index)
            case stepper.FinishUndone():
                await self._append(incident, f.PlanRolledBack(plan_id=plan_id, reason=reason))
            case stepper.FinishForPeople():
                await self._append(incident, f.PlanRollbackFailed(plan_id=plan_id, reason=reason))
            case _:
                await self._clock.sleep(self._poll_s)

    async def _run_step(self, incident: Incident, record: PlanRecord, index: int) -> None:
        step, plan = record.plan.steps[index], record.plan
        try:
            previous = await self._runner.observe(step)
            refused = self._unproven(record) or moved(plan, index, previous)
            refused = refused or refusal_now(step, previous, self._limits)
        except (Forbidden, Invalid, Unavailable) as error:
            refused, previous = str(error), {}
        if refused:
            reason = f"step {index + 1} was not started: {refused}"
            await self._append(incident, f.RollbackStarted(plan_id=plan.plan_id, reason=reason, undo=plan.rollback))
            return
        started = f.StepStarted(plan_id=plan.plan_id, index=index, previous=previous)
        untouched = ""
        if plan.dry_run:
            untouched = f"dry run: would have sent {step.action} with {shown(step.params)}"
        elif action_named(step.action).holds(step, previous):
            untouched = f"nothing sent: already so ({shown(previous)})"
        if untouched:
            done = f.StepSucceeded(plan_id=plan.plan_id, index=index, detail=untouched)
            await self._append(incident, started, done)
            return
        intent_at = self._clock.monotonic()
        await self._append(incident, started)
        outcome = await self._runner.send(step, ids.step_key(plan.plan_id, index), previous, intent_at)
        if outcome.ending is Ending.UNKNOWN:
            log.warning("outcome unknown, looking", plan_id=plan.plan_id, step=index, detail=outcome.detail)
            return  # the step stays started: the next turn settles it
        await self._record(incident.id, plan.plan_id, index, outcome)

    async def _settle_step(self, incident: Incident, record: PlanRecord, index: int) -> None:
        step, plan_id = record.plan.steps[index], record.plan.plan_id
        previous = record.steps[index].previous or {}
        action = action_named(step.action)
        if self._may_be_under_way(record, record.steps[index].started_at_ms):
            await self._clock.sleep(self._poll_s)
            return
        try:
            now = await self._runner.observe(step)
        except (Forbidden, Invalid, Unavailable) as error:
            outcome = Outcome(ending=Ending.UNKNOWN, detail=f"{step.action} may or may not have been done: {error}")
            await self._record(incident.id, plan_id, index, outcome)
            return
        settled = action.settle(step, previous, now)
        giving_up = record.state is PlanState.ROLLING_BACK
        if settled is Settled.UNKNOWN:
            detail = f"{step.action} may or may not have been done, and must not be sent twice; now {shown(now)}"
            outcome = Outcome(ending=Ending.UNKNOWN, detail=detail)
        elif settled is Settled.DONE:
            outcome = await self._runner.await_effect(step, previous, "found done")
        elif giving_up or (refused := refusal_now(step, now, self._limits)):
            why = "the plan was given up" if giving_up else refused
            outcome = Outcome(ending=Ending.FAILED, detail=f"not sent again: {why}; now {shown(now)}")
        else:
            intent_at = self._clock.monotonic()
            # A fresh entry fences off whoever held the plan before, since a late call of theirs would follow ours.
            incident = await self._append(incident, f.ExecutionResumed(plan_id=plan_id, owner=self._owner))
            outcome = await self._runner.send(step, ids.step_key(plan_id, index), previous, intent_at)
            if outcome.ending is Ending.UNKNOWN:
                return
        await self._record(incident.id, plan_id, index, outcome)

    async def _undo_step(self, incident: Incident, record: PlanRecord, index: int) -> None:
        plan_id, step = record.plan.plan_id, record.plan.steps[index]
        inverse = self._inverse(record, index)
        started = f.UndoStarted(plan_id=plan_id, index=index)
        now: Values = {}
        try:
            now = await self._runner.observe(step)
            refused = refusal_now(inverse, now, self._limits)
        except (Forbidden, Invalid, Unavailable) as error:
            refused = str(error)
        if action_named(inverse.action).holds(inverse, now):
            done = f"nothing sent: already so ({shown(now)})"
            await self._append(incident, started, f.UndoSucceeded(plan_id=plan_id, index=index, detail=done))
            return
        if now and not action_named(step.action).still_ours(step, now):
            refused = f"somebody changed it since: {shown(now)}"
        if refused:
            await self._append(incident, started, f.UndoFailed(plan_id=plan_id, index=index, detail=refused))
            return
        intent_at = self._clock.monotonic()
        incident = await self._append(incident, started)
        outcome = await self._runner.send(inverse, ids.StepKey(f"{ids.step_key(plan_id, index)}.undo"), now, intent_at)
        if outcome.ending is not Ending.UNKNOWN:
            await self._record_undo(incident.id, plan_id, index, outcome)

    async def _settle_undo(self, incident: Incident, record: PlanRecord, index: int) -> None:
        plan_id, inverse = record.plan.plan_id, self._inverse(record, index)
        if self._may_be_under_way(record, None):
            await self._clock.sleep(self._poll_s)
            return
        try:
            now = await self._runner.observe(inverse)
        except (Forbidden, Invalid, Unavailable) as error:
            outcome = Outcome(ending=Ending.FAILED, detail=f"its undoing may not have been done: {error}")
        else:
            settled = action_named(inverse.action).settle(inverse, {}, now)
            if settled is Settled.DONE:
                outcome = await self._runner.await_effect(inverse, {}, "found undone")
            else:
                detail = f"its undoing may not have been done; now {shown(now)}"
                outcome = Outcome(ending=Ending.FAILED, detail=detail)
        await self._record_undo(incident.id, plan_id, index, outcome)

    def _lost(self, record: PlanRecord) -> bool:
        """Whether another process took over a plan that this one had."""
        return record.plan.plan_id in self._claimed and record.owner != self._owner

    def _may_be_under_way(self, record: PlanRecord, intent_ms: int | None) -> bool:
        """Whether a call of a predecessor, or an unanswered one of ours, may still be on its way.

        Until its fence, a look at the resource proves nothing, and what is done after the look could be undone by it.
        """
        latest_ms = max(intent_ms or 0, record.owned_since_ms or 0)
        return self._clock.now_ms() - latest_ms <= SELF_FENCE_S * 1000

    def _inverse(self, record: PlanRecord, index: int) -> Step:
        step = record.plan.steps[index]
        inverse = action_named(step.action).inverse(step, record.steps[index].previous or {})
        if inverse is None:
            raise Invalid("step", step.action, "an action that can be undone")
        return inverse

    def _unproven(self, record: PlanRecord) -> str:
        """Why the journal's own record does not prove the approval of exactly this plan; empty if it does."""
        if digest_of(record.plan) != record.plan.digest:
            return "the plan is not the one whose digest was approved"
        approvals = {
            verdict.principal.id
            for verdict in record.verdicts
            if verdict.decision == "approve" and verdict.digest == record.plan.digest
        }
        if len(approvals) < record.plan.approvals_required:
            return f"{len(approvals)} of {record.plan.approvals_required} approvals are on record"
        return ""

    async def _health(self, incident: Incident, record: PlanRecord) -> list[SeriesHealth]:
        watched: dict[str, list[Fingerprint]] = {}
        told: list[SeriesHealth] = []
        for alert in incident.alerts:
            if alert.fingerprint in record.plan.verify and alert.from_outside:
                told.append(word_of(alert))
            elif alert.fingerprint in record.plan.verify:
                watched.setdefault(alert.service, []).append(alert.fingerprint)
        return [*told, *(await self._detectors.health(watched) if watched else ())]

    async def _record(self, incident_id: IncidentId, plan_id: PlanId, index: int, outcome: Outcome) -> None:
        detail = outcome.detail
        fact: f.StepFact
        match outcome.ending:
            case Ending.SUCCEEDED:
                fact = f.StepSucceeded(plan_id=plan_id, index=index, detail=detail)
            case Ending.FAILED:
                fact = f.StepFailed(plan_id=plan_id, index=index, detail=detail, sent=outcome.sent)
            case Ending.UNKNOWN:
                fact = f.StepUnknown(plan_id=plan_id, index=index, detail=detail)
        await self._surely(incident_id, fact)

    async def _record_undo(self, incident_id: IncidentId, plan_id: PlanId, index: int, outcome: Outcome) -> None:
        fact = f.UndoSucceeded if outcome.ending is Ending.SUCCEEDED else f.UndoFailed
        await self._surely(incident_id, fact(plan_id=plan_id, index=index, detail=outcome.detail))

    async def _surely(self, incident_id: IncidentId, fact: f.StepFact) -> None:
        """Record an outcome although others may append meanwhile: it is true whatever they said.

        Given up only when the journal finds the fact illegal, as when another process settled the step.
        """
        while True:
            incident = await self._journal.incident(incident_id)
            record = incident.plan(fact.plan_id) if incident else None
            if incident is None or record is None or record.owner != self._owner:
                return
            try:
                await self._append(incident, fact)
            except Conflict as error:
                if (await self._journal.incident(incident_id) or incident).seq == incident.seq:
                    raise
                log.info("recording once more", plan_id=fact.plan_id, error=str(error))
                continue
            except (Unavailable, OutcomeUnknown) as error:
                log.warning("not surely recorded, looking again", plan_id=fact.plan_id, error=str(error))
                await self._clock.sleep(self._poll_s)
                continue
            return

    async def _append(self, incident: Incident, *facts: f.Fact) -> Incident:
        return await self._journal.append(incident.id, incident.seq, facts, SENTINEL, self._clock.now_ms())

    async def ping(self) -> str:
        """Answers while the actor's loop turns."""
        return "execution"

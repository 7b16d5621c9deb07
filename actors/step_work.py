"""The steps of a plan, one turn at a time: check, record the intent, send, record the outcome; and the same undone."""

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from actors.api import Journal
from actors.settling import Settling, window
from actors.steps import Ending, Outcome, StepRunner, shown
from sentinel import ids
from sentinel.clock import Clock
from sentinel.errors import Conflict, Forbidden, Held, IllegalTransition, Invalid, OutcomeUnknown, Unavailable
from sentinel.ids import IncidentId, PlanId, StepKey
from sentinel.incidents import facts as f
from sentinel.incidents.nouns import SENTINEL, Incident, PlanRecord, PlanState, Step, StepState
from sentinel.remediation.actions import Settled, Values, action_named
from sentinel.remediation.binding import moved
from sentinel.remediation.safety import Limits, is_rehearsed, refusal_now

_SEND_TRIES = 4
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """One effect that is about to be recorded and sent: its step, its token, and how its intents are told."""

    plan_id: PlanId
    index: int
    step: Step
    key: StepKey
    previous: Values
    again: type[f.StepFact]
    while_plan: PlanState
    while_step: StepState


class StepWork:
    """Hard state: none. Soft state: since when this process has each plan, and when it sent what.

    A step's intent is recorded before its call and its outcome after it, and each attempt has an intent of its own, in
    whose transaction the limits and the kill switch are asked. A step found started without an outcome is looked at
    before anything else is done, and only once no call of a predecessor can still be on its way: times are those of
    this process's own monotonic clock, counted from when it took the plan over.
    """

    def __init__(
        self,
        *,
        journal: Journal,
        runner: StepRunner,
        limits: Limits,
        prove: Callable[[PlanRecord], str],
        clock: Clock,
        owner: str,
        poll_s: float,
        takeover_s: float,
        trail_within_s: float,
    ) -> None:
        self._journal = journal
        self._runner = runner
        self._limits = limits
        self._prove = prove
        self._clock = clock
        self._owner = owner
        self._poll_s = poll_s
        self._takeover_s = takeover_s
        self._settling = Settling(runner, clock, trail_within_s)
        self._taken_at: dict[PlanId, float] = {}
        self._sent_at: dict[StepKey, float] = {}

    async def append(self, incident: Incident, *facts: f.Fact) -> Incident:
        """Record facts after what was read; raises as `Journal.append` does."""
        return await self._journal.append(incident.id, incident.seq, facts, SENTINEL, self._clock.now_ms())

    async def run(self, incident: Incident, record: PlanRecord, index: int) -> None:
        """Check the step once more, record the intent, send it."""
        step, plan = record.plan.steps[index], record.plan
        rehearsal, previous = "", {}
        try:
            seen = await self._runner.look(step)
            previous = dict(seen.values)
            refused = self._prove(record) or moved(plan, index, previous)
            refused = refused or refusal_now(step, previous, self._limits, seen.tags)
            refused = refused or ("" if plan.dry_run else self._only_rehearsed(step))
            if not refused and plan.dry_run:
                rehearsal = await self._runner.rehearse(step)
        except (Forbidden, Invalid, Unavailable) as error:
            refused = str(error)
        if refused:
            await self._not_started(incident, record, index, refused)
            return
        started = f.StepStarted(plan_id=plan.plan_id, index=index, previous=previous)
        untouched = f"dry run: would have sent {rehearsal}" if rehearsal else ""
        if not untouched and action_named(step.action).holds(step, previous):
            untouched = f"nothing sent: already so ({shown(previous)})"
        if untouched:
            done = f.StepSucceeded(plan_id=plan.plan_id, index=index, detail=untouched)
            await self.append(incident, started, done)
            return
        call = self._call(record, index, step, previous)
        try:
            outcome = await self._send(incident, call, started)
        except Held as held:
            await self._not_started(incident, record, index, str(held))
            return
        if outcome.ending is Ending.UNKNOWN:
            log.warning("outcome unknown, looking", plan_id=plan.plan_id, step=index, detail=outcome.detail)
            return  # the step stays started: the next turn settles it
        await self._record(incident.id, plan.plan_id, index, outcome)

    async def settle(self, incident: Incident, record: PlanRecord, index: int) -> None:
        """The step was started and has no outcome: look at the resource, then decide."""
        step, plan_id = record.plan.steps[index], record.plan.plan_id
        previous = record.steps[index].previous or {}
        call = self._call(record, index, step, previous)
        if self._may_be_under_way(call):
            await self._clock.sleep(self._poll_s)
            return
        try:
            seen = await self._runner.look(step)
        except (Forbidden, Invalid, Unavailable) as error:
            outcome = Outcome(ending=Ending.UNKNOWN, detail=f"{step.action} may or may not have been done: {error}")
            await self._record(incident.id, plan_id, index, outcome)
            return
        now, made = seen.values, window(record.steps[index], self._takeover_s)
        reading = await self._settling.found(step, call.key, previous, now, made)
        giving_up = record.state is PlanState.ROLLING_BACK
        if reading.settled is None and not giving_up:
            log.info("outcome unknown, waiting", plan_id=plan_id, step=index, reason=reading.reason)
            await self._clock.sleep(self._poll_s)
            return
        settled, why = reading.settled or Settled.UNKNOWN, f"; {reading.reason}" if reading.reason else ""
        if settled is Settled.UNKNOWN:
            detail = f"{step.action} may or may not have been done, and must not be sent twice{why}; now {shown(now)}"
            outcome = Outcome(ending=Ending.UNKNOWN, detail=detail)
        elif settled is Settled.DONE:
            outcome = await self._runner.await_effect(step, previous, f"found done{why}")
        elif settled is Settled.NEVER_DONE:
            never = f"{step.action} was never done, and is not sent again without a new approval"
            outcome = Outcome(ending=Ending.FAILED, detail=f"{never}{why}; now {shown(now)}")
        elif giving_up or (
            refused := self._prove(record)
            or refusal_now(step, now, self._limits, seen.tags)
            or self._only_rehearsed(step)
        ):
            why = "the plan was given up" if giving_up else refused
            outcome = Outcome(ending=Ending.FAILED, detail=f"not sent again: {why}; now {shown(now)}")
        else:
            # A fresh intent fences off whoever held the plan before, since a late call of theirs would follow ours.
            try:
                outcome = await self._send(incident, call, f.StepResent(plan_id=plan_id, index=index))
            except Held as held:
                outcome = Outcome(ending=Ending.FAILED, detail=f"not sent again: {held}")
            if outcome.ending is Ending.UNKNOWN:
                return
        await self._record(incident.id, plan_id, index, outcome)

    async def undo(self, incident: Incident, record: PlanRecord, index: int) -> None:
        """Bring the resource back to what it was before the step, if it is still as the step set it."""
        plan_id, step = record.plan.plan_id, record.plan.steps[index]
        inverse = self._inverse(record, index)
        now: Values = {}
        try:
            seen = await self._runner.look(step)
            now = seen.values
            refused = self._prove(record) or refusal_now(inverse, now, self._limits, seen.tags)
            refused = refused or self._only_rehearsed(step, inverse)
        except (Forbidden, Invalid, Unavailable) as error:
            refused = str(error)
        started = f.UndoStarted(plan_id=plan_id, index=index, previous=dict(now))
        if action_named(inverse.action).holds(inverse, now):
            done = f"nothing sent: already so ({shown(now)})"
            await self.append(incident, started, f.UndoSucceeded(plan_id=plan_id, index=index, detail=done))
            return
        if now and not action_named(step.action).still_ours(step, now):
            refused = f"somebody changed it since: {shown(now)}"
        if not refused:
            call = self._undo_call(record, index, inverse, now)
            try:
                outcome = await self._send(incident, call, started)
            except Held as held:
                refused = str(held)
            else:
                if outcome.ending is not Ending.UNKNOWN:
                    await self._record_undo(incident.id, plan_id, index, outcome)
                return
        await self.append(incident, started, f.UndoFailed(plan_id=plan_id, index=index, detail=refused))

    async def settle_undo(self, incident: Incident, record: PlanRecord, index: int) -> None:
        """An undo was started and has no outcome: look, then decide."""
        plan_id, inverse = record.plan.plan_id, self._inverse(record, index)
        before = record.steps[index].undo_previous or {}
        call = self._undo_call(record, index, inverse, before)
        if self._may_be_under_way(call):
            await self._clock.sleep(self._poll_s)
            return
        try:
            seen = await self._runner.look(inverse)
            refused = self._prove(record) or refusal_now(inverse, seen.values, self._limits, seen.tags)
            refused = refused or self._only_rehearsed(record.plan.steps[index], inverse)
        except (Forbidden, Invalid, Unavailable) as error:
            outcome = Outcome(ending=Ending.FAILED, detail=f"its undoing may not have been done: {error}")
        else:
            made = window(record.steps[index], self._takeover_s)
            settled = action_named(inverse.action).settle(inverse, before, seen.values, made)
            detail = f"its undoing may not have been done; now {shown(seen.values)}"
            if settled is Settled.DONE:
                outcome = await self._runner.await_effect(inverse, before, "found undone")
            elif settled is Settled.NOT_DONE and before and not refused:
                try:
                    outcome = await self._send(incident, call, f.UndoResent(plan_id=plan_id, index=index))
                except Held as held:
                    outcome = Outcome(ending=Ending.FAILED, detail=f"not undone: {held}")
                if outcome.ending is Ending.UNKNOWN:
                    return
            else:
                outcome = Outcome(ending=Ending.FAILED, detail=f"{detail}{'; ' if refused else ''}{refused}")
        await self._record_undo(incident.id, plan_id, index, outcome)

    def taken(self, plan_id: PlanId) -> None:
        """This process has the plan from now on."""
        self._taken_at[plan_id] = self._clock.monotonic()

    def _only_rehearsed(self, *steps: Step) -> str:
        """Why these may not be sent although their plan is a real one: it was made before the settings said so."""
        rehearsed = next((step for step in steps if is_rehearsed(step, self._limits)), None)
        return f"{rehearsed.action} on {rehearsed.target} is only rehearsed by now" if rehearsed else ""

    async def _not_started(self, incident: Incident, record: PlanRecord, index: int, why: str) -> None:
        reason = f"step {index + 1} was not started: {why}"
        given_up = f.RollbackStarted(plan_id=record.plan.plan_id, reason=reason, undo=record.plan.rollback)
        await self.append(incident, given_up)

    async def _send(self, incident: Incident, call: _Call, intent: f.StepFact) -> Outcome:
        """Record the intent and send, again while the cloud surely takes nothing. Raises as the first append does."""
        outcome = Outcome(ending=Ending.NOT_SENT, detail="not sent")
        for attempt in range(_SEND_TRIES):
            if attempt:
                await self._clock.sleep(2.0 ** (attempt - 1))
                intent = call.again(plan_id=call.plan_id, index=call.index)
            intent_at = self._clock.monotonic()
            if not attempt:
                await self.append(incident, intent)
            elif why := await self._refused_again(incident.id, call, intent):
                return Outcome(ending=Ending.FAILED, detail=f"{outcome.detail}; not sent again: {why}")
            self._sent_at[call.key] = intent_at
            outcome = await self._runner.send(call.step, call.key, call.previous, intent_at)
            if outcome.ending is not Ending.NOT_SENT:
                return outcome
        return Outcome(ending=Ending.FAILED, detail=outcome.detail)

    async def _refused_again(self, incident_id: IncidentId, call: _Call, intent: f.StepFact) -> str:
        """Record the intent to send once more; why that is not possible any more, or an empty text."""
        while True:
            incident = await self._journal.incident(incident_id)
            record = incident.plan(call.plan_id) if incident else None
            if incident is None or record is None or record.owner != self._owner:
                return "another process has the plan"
            if record.state is not call.while_plan or record.steps[call.index].state is not call.while_step:
                return f"the plan is {record.state}"
            try:
                await self.append(incident, intent)
            except (Held, IllegalTransition) as error:
                return str(error)
            except (Conflict, Unavailable, OutcomeUnknown) as error:
                log.info("recording once more", plan_id=call.plan_id, error=str(error))
                await self._clock.sleep(self._poll_s)
                continue
            return ""

    def _may_be_under_way(self, call: _Call) -> bool:
        """Whether a call of a predecessor, or an unanswered one of ours, may still be on its way.

        Until its fence, a look at the resource proves nothing, and what is done after the look could be undone by it.
        """
        now = self._clock.monotonic()
        sent_at = self._sent_at.get(call.key)
        if sent_at is not None:
            return now - sent_at <= self._runner.send_within_s
        # Owned and yet not noted: the answer to the take-over was lost. It is noted now, which only lengthens the wait.
        return now - self._taken_at.setdefault(call.plan_id, now) <= self._takeover_s

    def _call(self, record: PlanRecord, index: int, step: Step, previous: Values) -> _Call:
        return _Call(
            plan_id=record.plan.plan_id,
            index=index,
            step=step,
            key=ids.step_key(record.plan.plan_id, index),
            previous=previous,
            again=f.StepResent,
            while_plan=PlanState.EXECUTING,
            while_step=StepState.STARTED,
        )

    def _undo_call(self, record: PlanRecord, index: int, inverse: Step, previous: Values) -> _Call:
        return _Call(
            plan_id=record.plan.plan_id,
            index=index,
            step=inverse,
            key=StepKey(f"{ids.step_key(record.plan.plan_id, index)}.undo"),
            previous=previous,
            again=f.UndoResent,
            while_plan=PlanState.ROLLING_BACK,
            while_step=StepState.UNDO_STARTED,
        )

    def _inverse(self, record: PlanRecord, index: int) -> Step:
        step = record.plan.steps[index]
        inverse = action_named(step.action).inverse(step, record.steps[index].previous or {})
        if inverse is None:
            raise Invalid("step", step.action, "an action that can be undone")
        return inverse

    async def _record(self, incident_id: IncidentId, plan_id: PlanId, index: int, outcome: Outcome) -> None:
        detail = outcome.detail
        fact: f.StepFact
        match outcome.ending:
            case Ending.SUCCEEDED:
                fact = f.StepSucceeded(plan_id=plan_id, index=index, detail=detail)
            case Ending.UNKNOWN:
                fact = f.StepUnknown(plan_id=plan_id, index=index, detail=detail)
            case _:
                fact = f.StepFailed(plan_id=plan_id, index=index, detail=detail, sent=outcome.sent)
        await self._surely(incident_id, fact)

    async def _record_undo(self, incident_id: IncidentId, plan_id: PlanId, index: int, outcome: Outcome) -> None:
        fact = f.UndoSucceeded if outcome.ending is Ending.SUCCEEDED else f.UndoFailed
        await self._surely(incident_id, fact(plan_id=plan_id, index=index, detail=outcome.detail))

    async def _surely(self, incident_id: IncidentId, fact: f.StepFact) -> None:
        """Record an outcome although others may append meanwhile: it is true whatever they said.

        Given up only when the journal finds the fact illegal, as when another process settled the step.
        """
        while True:
            try:
                incident = await self._journal.incident(incident_id)
                record = incident.plan(fact.plan_id) if incident else None
                if incident is None or record is None or record.owner != self._owner:
                    return
                await self.append(incident, fact)
            except IllegalTransition:
                raise
            except (Conflict, Unavailable, OutcomeUnknown) as error:
                log.warning("not surely recorded, looking again", plan_id=fact.plan_id, error=str(error))
                await self._clock.sleep(self._poll_s)
                continue
            return

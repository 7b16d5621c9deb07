"""Facts -> the incident as it now is: `apply` one entry, `replay` all of them. Mutates nothing."""

from collections.abc import Iterable
from dataclasses import replace

from sentinel.errors import IllegalTransition
from sentinel.incidents import facts as f
from sentinel.incidents.nouns import (
    Alert,
    Correction,
    Incident,
    IncidentState,
    PlanRecord,
    StepRecord,
    StepState,
    merge,
)
from sentinel.incidents.transitions import STEP, next_incident_state, next_plan_state


def apply(incident: Incident | None, entry: f.Entry) -> Incident:
    """The incident after `entry`. Raises IllegalTransition if the tables or the sequence forbid it."""
    expected = incident.seq + 1 if incident else 1
    if entry.seq != expected:
        raise IllegalTransition(f"incident {entry.incident_id}: entry {entry.seq} where {expected} follows")
    if incident and entry.incident_id != incident.id:
        raise IllegalTransition(f"incident {incident.id}: an entry of {entry.incident_id} cannot follow")
    state = next_incident_state(incident, entry.fact)
    if incident is None:
        if not isinstance(entry.fact, f.IncidentOpened):
            raise IllegalTransition(f"incident {entry.incident_id} does not exist: {entry.fact.kind} cannot follow")
        return _opened(entry, entry.fact, state)
    changed = _change(incident, entry)
    return replace(changed, state=state, seq=entry.seq, updated_at_ms=entry.at_ms)


def replay(entries: Iterable[f.Entry]) -> Incident | None:
    """The incident that a whole history tells of, or None for no entries."""
    incident: Incident | None = None
    for entry in entries:
        incident = apply(incident, entry)
    return incident


def _opened(entry: f.Entry, fact: f.IncidentOpened, state: IncidentState) -> Incident:
    return Incident(
        id=entry.incident_id,
        state=state,
        seq=entry.seq,
        title=fact.title,
        severity=fact.severity,
        services=_services(fact.alerts),
        alerts=fact.alerts,
        suspects=fact.suspects,
        similar=fact.similar,
        reason=fact.reason,
        memory_note=fact.memory_note,
        previous_id=fact.previous_id,
        changes=fact.changes,
        silenced_by=fact.silenced_by,
        silenced=bool(fact.silenced_by),
        opened_at_ms=entry.at_ms,
        updated_at_ms=entry.at_ms,
    )


def _change(incident: Incident, entry: f.Entry) -> Incident:
    match entry.fact:
        case f.AlertRaised(alert=alert, suspects=suspects):
            return replace(_with_alerts(incident, (alert,)), suspects=suspects)
        case f.DuplicateFolded(alerts=alerts):
            return replace(_with_alerts(incident, alerts), occurrences=incident.occurrences + 1)
        case f.AlertCleared(fingerprint=cleared, ended_at_ms=ended):
            alerts = tuple(
                replace(alert, ended_at_ms=ended) if alert.fingerprint == cleared else alert
                for alert in incident.alerts
            )
            return replace(incident, alerts=alerts)
        case f.ToldApart():
            return _told_apart(incident, entry, entry.fact)
        case f.ToldSame():
            return _told_same(incident, entry, entry.fact)
        case f.IncidentMerged(into=into, reason=reason):
            return replace(incident, merged_into=into, state_reason=reason, resolved_at_ms=entry.at_ms)
        case f.SilenceEnded(reason=reason):
            return replace(incident, silenced=False, state_reason=reason)
        case f.CardPosted(card=card):
            return replace(incident, cards=(*incident.cards, card))
        case f.NotePosted(upto_seq=upto):
            return replace(incident, told_seq=max(incident.told_seq, upto))
        case f.IncidentAcknowledged(by=by):
            return replace(incident, acknowledged_by=by)
        case f.IncidentEscalated(reason=reason):
            return replace(incident, state_reason=reason)
        case f.IncidentResolved(reason=reason):
            return replace(incident, state_reason=reason, resolved_at_ms=entry.at_ms)
        case f.PlanProposed() | f.PlanFact():
            return _plan_changed(incident, entry, entry.fact)
        case _:
            raise IllegalTransition(f"{entry.fact.kind} cannot follow in incident {incident.id}")


def _told_apart(incident: Incident, entry: f.Entry, fact: f.ToldApart) -> Incident:
    leaving = {alert.fingerprint for alert in fact.alerts}
    kept = tuple(alert for alert in incident.alerts if alert.fingerprint not in leaving)
    correction = Correction(
        same=False,
        other_id=fact.other_id,
        alerts=fact.alerts or fact.against,
        against=kept,
        principal=entry.principal,
        reason=fact.reason,
        at_ms=entry.at_ms,
    )
    corrected = replace(incident, corrections=(*incident.corrections, correction))
    if not kept:
        raise IllegalTransition(f"incident {incident.id} would keep no alert")
    if not leaving:
        return replace(corrected, previous_id=None)
    severity = max((alert.severity for alert in kept), key=lambda severity: severity.rank, default=incident.severity)
    return replace(
        corrected,
        alerts=kept,
        services=_services(kept),
        severity=severity,
        suspects=fact.suspects,
        occurrences=max(incident.occurrences - 1, 1),
    )


def _told_same(incident: Incident, entry: f.Entry, fact: f.ToldSame) -> Incident:
    correction = Correction(
        same=True,
        other_id=fact.other_id,
        alerts=fact.alerts or fact.against,
        against=incident.alerts,
        principal=entry.principal,
        reason=fact.reason,
        at_ms=entry.at_ms,
    )
    corrected = replace(incident, corrections=(*incident.corrections, correction))
    if not fact.alerts:
        return replace(corrected, previous_id=fact.other_id)
    return replace(
        _with_alerts(corrected, fact.alerts),
        suspects=fact.suspects,
        occurrences=incident.occurrences + fact.occurrences,
    )


def _with_alerts(incident: Incident, added: tuple[Alert, ...]) -> Incident:
    alerts = {alert.fingerprint: alert for alert in incident.alerts}
    for alert in added:
        known = alerts.get(alert.fingerprint)
        alerts[alert.fingerprint] = merge(known, alert) if known else alert
    together = tuple(alerts.values())
    severity = max((incident.severity, *(alert.severity for alert in added)), key=lambda severity: severity.rank)
    return replace(incident, alerts=together, services=_services(together), severity=severity)


def _services(alerts: tuple[Alert, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(alert.service for alert in alerts))


def _plan_changed(incident: Incident, entry: f.Entry, fact: f.PlanFact | f.PlanProposed) -> Incident:
    state = next_plan_state(incident, fact)
    if isinstance(fact, f.PlanProposed):
        steps = tuple(StepRecord() for _ in fact.plan.steps)
        return replace(incident, plans=(*incident.plans, PlanRecord(plan=fact.plan, state=state, steps=steps)))
    before = incident.plan(fact.plan_id)
    if before is None:
        raise IllegalTransition(f"incident {incident.id} has no plan {fact.plan_id}")
    record = replace(before, state=state)
    match fact:
        case f.ApprovalRequested():
            record = replace(record, asked_at_ms=entry.at_ms)
        case f.ApprovalReminded(escalated=escalated):
            record = replace(record, reminded_at_ms=entry.at_ms)
            record = replace(record, escalated_at_ms=entry.at_ms) if escalated else record
            return replace(incident, plans=_with_plan(incident, record))
        case f.VerdictGiven(verdict=verdict):
            record = replace(record, verdicts=(*record.verdicts, verdict))
        case f.PlanApproved():
            record = replace(record, approved_at_ms=entry.at_ms)
        case f.PlanHeld(reason=why):
            record = replace(record, held_reason=why)
        case f.ExecutionStarted(owner=owner):
            record = replace(record, owner=owner, owned_since_ms=entry.at_ms, started_at_ms=entry.at_ms)
        case f.ExecutionResumed(owner=owner):
            record = replace(record, owner=owner, owned_since_ms=entry.at_ms)
        case f.StepFact():
            record = _step_changed(record, entry, fact)
        case f.VerificationStarted():
            record = replace(record, verifying_since_ms=entry.at_ms)
        case f.RollbackStarted(reason=reason, undo=undo):
            record = replace(record, rollback_reason=reason, undo=undo)
        case _:
            pass
    reason = getattr(fact, "reason", "")
    if not state.live:
        record = replace(record, ended_reason=reason)
    return replace(incident, plans=_with_plan(incident, record), state_reason=reason or incident.state_reason)


def _with_plan(incident: Incident, record: PlanRecord) -> tuple[PlanRecord, ...]:
    return tuple(record if each.plan.plan_id == record.plan.plan_id else each for each in incident.plans)


def _step_changed(record: PlanRecord, entry: f.Entry, fact: f.StepFact) -> PlanRecord:
    _, after = STEP[type(fact)]
    step = record.steps[fact.index]
    step = replace(step, state=after, detail=getattr(fact, "detail", step.detail))
    if isinstance(fact, f.StepFailed):
        step = replace(step, sent=fact.sent)
    if isinstance(fact, f.StepStarted):
        step = replace(step, previous=fact.previous, started_at_ms=entry.at_ms)
    elif isinstance(fact, f.UndoStarted):
        step = replace(step, undo_previous=fact.previous)
    elif after not in (StepState.STARTED, StepState.UNDO_STARTED):
        step = replace(step, ended_at_ms=entry.at_ms)
    if after in (StepState.STARTED, StepState.UNDO_STARTED):
        step = replace(step, intent_at_ms=entry.at_ms)
    return replace(record, steps=(*record.steps[: fact.index], step, *record.steps[fact.index + 1 :]))

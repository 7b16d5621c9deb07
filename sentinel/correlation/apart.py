"""What of an incident people may say is another fault, where they are asked with a list. Pure."""

from sentinel.incidents.nouns import Incident, IncidentState

LAST = "last"  # what was folded in last
RETURN = "return"  # that this is the incident before, come back
_MOST = 50


def choices(incident: Incident) -> tuple[str, ...]:
    """LAST, RETURN or fingerprints; none where the incident is over, has a live plan, or nothing could leave it.

    LAST and RETURN stand for a correction that names no alert, which takes what was folded in before the return.
    """
    if incident.state is IncidentState.RESOLVED or incident.live_plan:
        return ()
    several = len(incident.alerts) > 1
    found = [LAST] if several and incident.occurrences > 1 else []
    found += [RETURN] if incident.previous_id and incident.occurrences == 1 else []
    found += [alert.fingerprint for alert in incident.alerts[:_MOST]] if several else []
    return tuple(found)


def fingerprints(choice: str) -> tuple[str, ...]:
    """The alerts that a choice names; none for LAST and RETURN."""
    return () if choice in (LAST, RETURN) else (choice,)

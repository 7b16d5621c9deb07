"""The knobs of correlation that an operator sees."""

from dataclasses import dataclass

from sentinel.correlation.grouping import MAX_AGE_S


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrelationPolicy:
    """How long to wait for company, and how near in time and kind two faults are one."""

    group_wait_s: float
    group_window_s: float
    resolve_after_s: float
    dedup_window_s: float
    dedup_similarity: float
    recall_limit: int
    max_incident_age_s: float = MAX_AGE_S

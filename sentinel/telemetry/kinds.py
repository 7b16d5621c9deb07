"""What kind of thing a metric measures, told from its name: the words that runbooks and ranking use."""

import re

LATENCY, ERRORS, TRAFFIC, CPU, MEMORY, DISK, AVAILABILITY, OTHER = KINDS = (
    "latency",
    "errors",
    "traffic",
    "cpu",
    "memory",
    "disk",
    "availability",
    "other",
)

# First match wins, so the telling words stand before the general ones.
_WORDS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (kind, re.compile(pattern))
    for kind, pattern in (
        (ERRORS, r"error|fail|fault|5xx|exception|reject|timeout"),
        (LATENCY, r"latenc|duration|response_time|rtt|_(seconds|ms)(_mean|_p\d+)?$|delay"),
        (CPU, r"cpu|load1|throttl"),
        (MEMORY, r"mem|heap|rss|swap"),
        (DISK, r"disk|filesystem|inode|iops|write_bytes|read_bytes"),
        (AVAILABILITY, r"^up$|availab|healthy|ready|running|success_?r"),
        (TRAFFIC, r"request|rps|qps|\bops\b|workload|throughput|network|traffic|count|volume|_total$"),
    )
)


def kind_of(metric: str) -> str:
    """One of `KINDS` for a metric name, `other` where the name says nothing."""
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", metric).lower()
    return next((kind for kind, words in _WORDS if words.search(name)), OTHER)

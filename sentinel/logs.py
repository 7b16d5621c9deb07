"""Structured logs: one JSON object a line, bound to incident and plan ids by whoever logs."""

import logging
import sys

import structlog


def set_up(level: str = "info") -> None:
    """Have this process log as JSON lines on standard error. Calling it twice is harmless."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )

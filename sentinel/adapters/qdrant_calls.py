"""How Qdrant is called: one worker thread, bounded attempts, and a breaker that stops asking what does not answer.

qdrant-client's embedded mode has no lock between threads (four of them broke its index for good), and its client of
a server retries nothing.
"""

import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import TypeVar

import structlog
from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

from sentinel.clock import Clock
from sentinel.errors import Invalid, Unavailable

T = TypeVar("T")
_log = structlog.get_logger(__name__)

# What the client raises: of its own from a server; embedded also plain Python errors, SQLite's and the system's.
CLIENT_ERRORS = (ApiException, QdrantException, OSError, RuntimeError, ValueError, KeyError, sqlite3.Error)
FIRST_WAIT_S = 0.2
LONGEST_WAIT_S = 2.0
OPENS_AFTER = 3  # calls in a row, each with all its attempts
OPEN_FOR_S = 30.0


class Calls:
    """Runs calls in one thread, one after the other. `note` is empty while they succeed, else says what is lost.

    A call that failed in a way that may pass is tried again after a wait that grows; after OPENS_AFTER calls failed so
    in a row, the next ones fail at once for OPEN_FOR_S, for an incident does not wait for its memory.
    """

    def __init__(self, where: str, clock: Clock) -> None:
        self.note = ""
        self._where = where
        self._clock = clock
        self._failures = 0
        self._closed_until: float | None = None
        self._count = 0
        self._stopping = threading.Event()
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="qdrant")

    def run(self, call: Callable[[], T], attempts: int = 1) -> T:
        """`call` in the worker. Raises Unavailable for whatever the client raises, Invalid as it is."""
        if self._closed_until is not None and self._clock.monotonic() < self._closed_until:
            raise Unavailable(self.note or f"{self._where} is not asked again yet")
        try:
            answering = self._worker.submit(self._attempt, call, attempts)
        except RuntimeError:
            raise Unavailable(f"{self._where} is closed") from None
        try:
            answer = answering.result()
        except CLIENT_ERRORS as error:
            self.note = f"{self._where} does not answer, so no similar incidents are recalled: {said(error)}"
            if passing(error):
                self._failed()
            # Without its cause: a client error can carry the request, and with it the key.
            raise Unavailable(self.note) from None
        except Invalid as error:
            self.note = str(error)
            raise
        self.note, self._failures, self._closed_until = "", 0, None
        return answer

    def close(self, last: Callable[[], object]) -> bool:
        """Run `last` and end the worker; False if that was done before."""
        self._stopping.set()
        try:
            closing = self._worker.submit(last)
        except RuntimeError:
            return False
        try:
            closing.result()
        finally:
            self.stop()
        return True

    def stop(self) -> None:
        """End the worker."""
        self._worker.shutdown(wait=True)

    def _attempt(self, call: Callable[[], T], attempts: int) -> T:
        for attempt in range(1, attempts + 1):
            try:
                return call()
            except CLIENT_ERRORS as error:
                if attempt == attempts or not passing(error):
                    raise
                wait_s = self._wait_s(attempt, error)
                _log.info("qdrant_again", where=self._where, attempt=attempt, wait_s=wait_s, why=said(error))
                if self._stopping.wait(wait_s):
                    raise
        raise AssertionError("unreachable")

    def _wait_s(self, attempt: int, error: BaseException) -> float:
        if isinstance(error, ResourceExhaustedResponse):
            return min(float(error.retry_after_s), LONGEST_WAIT_S)
        # Jitter without a dice: clients of one server differ in name and count, and so do not come back in step.
        self._count += 1
        digest = sha256(f"{self._where}|{id(self)}|{self._count}".encode()).digest()
        share = 0.5 + int.from_bytes(digest[:2], "little") / 0xFFFF
        wait_s: float = FIRST_WAIT_S * 2 ** (attempt - 1) * share
        return min(wait_s, LONGEST_WAIT_S)

    def _failed(self) -> None:
        self._failures += 1
        if self._failures >= OPENS_AFTER:
            self._closed_until = self._clock.monotonic() + OPEN_FOR_S
            _log.warning("qdrant_not_asked", where=self._where, for_s=OPEN_FOR_S, note=self.note)


def passing(error: BaseException) -> bool:
    """Whether the failure may pass by itself: no connection, no answer in time, too many calls, the server's fault."""
    match error:
        case UnexpectedResponse():
            return error.status_code is None or error.status_code == 429 or error.status_code >= 500
        case ResponseHandlingException() | ResourceExhaustedResponse():
            return True
        case _:
            return False


def said(error: BaseException) -> str:
    """The error in a line. Of a server's answer only the status: a body or a request may hold secrets."""
    match error:
        case UnexpectedResponse():
            return f"it answered {error.status_code} {error.reason_phrase}".rstrip()
        case ResponseHandlingException():
            return type(error.source).__name__
        case ApiException() | QdrantException():
            return type(error).__name__
        case _:
            first = str(error).partition("\n")[0]
            return f"{type(error).__name__}: {first[:200]}"

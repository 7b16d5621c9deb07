"""Sends samples to Sentinel as a good sender does: in order, with patience, and losing nothing without counting it."""

import json
import threading
from collections import deque
from collections.abc import Sequence

import httpx

from sentinel.clock import Clock
from sentinel.sandbox.shop import Sample

PATH = "/api/v1/samples"
BATCH = 500
LONGEST_PAUSE_S = 60.0
# 404 as well: while Ray Serve deploys, its proxy knows no route yet.
_AGAIN = frozenset({404, 408, 429})


class Sender:
    """A bounded buffer before one HTTP door. `offer` may be called from any thread, `flush` from one.

    Full, the buffer forgets its oldest samples and counts them as `dropped`. A batch that the door refuses for good
    counts as `refused`. A retry may deliver a batch twice, which Sentinel takes as once.
    """

    def __init__(
        self,
        sentinel_url: str,
        clock: Clock,
        *,
        token: str = "",
        capacity: int = 100_000,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.Client(
            base_url=sentinel_url, headers=headers, timeout=5, trust_env=False, transport=transport
        )
        self._clock = clock
        self._capacity = capacity
        self._waiting: deque[Sample] = deque()
        self._lock = threading.Lock()
        self._offered = threading.Event()
        self._not_before = 0.0
        self._failures = 0
        self._counts = {"sent": 0, "dropped": 0, "refused": 0, "retries": 0}
        self._last_error = ""

    def offer(self, samples: Sequence[Sample]) -> None:
        """Put samples at the end of the buffer."""
        with self._lock:
            self._waiting.extend(samples)
            while len(self._waiting) > self._capacity:
                self._waiting.popleft()
                self._counts["dropped"] += 1
        self._offered.set()

    def flush(self) -> bool:
        """Send until the buffer is empty or the door asks to wait; answers whether it is empty."""
        while self._clock.monotonic() >= self._not_before:
            with self._lock:
                batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
            if not batch:
                return True
            self._send(batch)
        return self.state()["waiting"] == 0

    def run(self, stop: threading.Event) -> None:
        """Flush whenever there is something to send, until `stop` is set."""
        while not stop.is_set():
            self._offered.wait(0.2)
            self._offered.clear()
            if not self.flush():
                stop.wait(0.1)
                self._offered.set()

    def state(self) -> dict[str, int | str]:
        """Counts of samples (waiting, sent, dropped, refused), of retries, and the last error in words."""
        with self._lock:
            return {"waiting": len(self._waiting), **self._counts, "last_error": self._last_error}

    def close(self) -> None:
        """Release the connection; what waits is forgotten."""
        self._http.close()

    def _send(self, batch: list[Sample]) -> None:
        body = json.dumps(batch, separators=(",", ":")).encode()
        try:
            reply = self._http.post(PATH, content=body, headers={"Content-Type": "application/json"})
        except httpx.TransportError as error:
            self._again(batch, f"{type(error).__name__}: {error}", "")
            return
        if reply.is_success:
            self._failures = 0
            with self._lock:
                self._counts["sent"] += len(batch)
                self._last_error = ""
        elif reply.status_code in _AGAIN or reply.is_server_error:
            self._again(batch, f"HTTP {reply.status_code}", reply.headers.get("Retry-After", ""))
        else:
            with self._lock:
                self._counts["refused"] += len(batch)
                self._last_error = f"HTTP {reply.status_code}: {' '.join(reply.text.split())[:200]}"

    def _again(self, batch: list[Sample], error: str, retry_after: str) -> None:
        self._failures += 1
        pause_s = float(retry_after) if retry_after.isdecimal() else min(0.25 * 2 ** min(self._failures, 6), 5.0)
        self._not_before = self._clock.monotonic() + min(pause_s, LONGEST_PAUSE_S)
        with self._lock:
            self._waiting.extendleft(reversed(batch))
            self._counts["retries"] += 1
            self._last_error = error

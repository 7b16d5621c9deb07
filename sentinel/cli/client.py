"""A small client of Sentinel's own API. Every failure becomes one line that says what to do."""

from typing import Any

import httpx

from sentinel.errors import (
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    Overloaded,
    SentinelError,
    Unauthenticated,
    Unavailable,
)

_BY_STATUS: dict[int, type[SentinelError]] = {
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
}


class Client:
    """Talks to one Sentinel. `key` is an API key, empty where none are configured."""

    def __init__(self, url: str, key: str = "", timeout_s: float = 30.0) -> None:
        self.url = url.rstrip("/")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        # A proxy of the environment must not come between a command and a Sentinel on this machine.
        self._http = httpx.Client(base_url=self.url, headers=headers, timeout=timeout_s, trust_env=False)

    def get(self, path: str, **params: str | int | None) -> Any:
        """The JSON answer to a GET."""
        return self._call("GET", path, params={name: value for name, value in params.items() if value is not None})

    def read(self, path: str) -> bytes:
        """The body of the answer to a GET, as it is."""
        return self._answer("GET", path).content

    def post(self, path: str, body: object) -> Any:
        """The JSON answer to a POST of JSON."""
        return self._call("POST", path, json=body)

    def put(self, path: str, body: object) -> Any:
        """The JSON answer to a PUT of JSON."""
        return self._call("PUT", path, json=body)

    def ready(self) -> dict[str, Any] | None:
        """The health report once everything answers; None while it does not."""
        try:
            answer = self._http.get("/health/ready")
        except httpx.HTTPError:
            return None
        report: dict[str, Any] | None = answer.json() if answer.status_code == 200 else None
        return report

    def _call(self, method: str, path: str, **kwargs: Any) -> Any:
        answer = self._answer(method, path, **kwargs)
        return answer.json() if answer.content else None

    def _answer(self, method: str, path: str, **kwargs: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, path, **kwargs)
        except httpx.TimeoutException:
            raise Unavailable(f"{self.url} did not answer in time") from None
        except httpx.HTTPError as error:
            raise Unavailable(
                f"{self.url} is not reached ({type(error).__name__}): is Sentinel up, or is it at another --api-url?"
            ) from None
        if answer.is_success:
            return answer
        raise _error_of(answer)


def _error_of(answer: httpx.Response) -> SentinelError:
    try:
        text = str(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        text = f"{answer.request.url} answered {answer.status_code}"
    if answer.status_code in (429, 503):
        retry_after = answer.headers.get("Retry-After", "1")
        return Overloaded(text, int(retry_after) if retry_after.isdigit() else 1)
    if answer.status_code in _BY_STATUS:
        return _BY_STATUS[answer.status_code](text)
    return Invalid("request", answer.status_code, text) if answer.status_code < 500 else Unavailable(text)

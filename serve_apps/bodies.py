"""Bodies of requests: counted while they stream, and bounded before they are parsed."""

from starlette.requests import Request

from sentinel.errors import Overloaded, TooLarge

MAX_ITEMS = 500_000  # of one body in JSON: 45,000 samples of eight labels
MAX_READING_BYTES = 64 * 1024 * 1024  # of bodies on their way in: two hundred requests at once may each be large
_MOST_DIGITS = 18


class Bodies:
    """How many bytes of bodies are being read now, at all doors of a replica together."""

    def __init__(self, most: int = MAX_READING_BYTES) -> None:
        self._most = most
        self._bytes = 0

    def take(self, size: int) -> None:
        """Count these in. Raises Overloaded where that would be too many at once."""
        if self._bytes + size > self._most:
            raise Overloaded(f"{self._bytes} bytes of bodies are being read")
        self._bytes += size

    def give(self, size: int) -> None:
        """They were read, or given up."""
        self._bytes -= size


async def read_body(request: Request, limit: int, bodies: Bodies | None = None) -> bytes:
    """The body, counted while it streams.

    Raises TooLarge as soon as it is over `limit` bytes, Overloaded where `bodies` has no room for more.
    """
    declared = request.headers.get("content-length", "")
    # By length first: text of thousands of digits is no number to Python.
    if declared.isdecimal() and (len(declared) > _MOST_DIGITS or int(declared) > limit):
        declared = declared[:_MOST_DIGITS]
        raise TooLarge(f"body: {declared} bytes, at most {limit} are taken (api.max_body_bytes)")
    chunks, size = [], 0
    bodies = bodies or Bodies(limit)
    try:
        async for chunk in request.stream():
            if size + len(chunk) > limit:
                raise TooLarge(f"body: more than {limit} bytes, the most that is taken (api.max_body_bytes)")
            bodies.take(len(chunk))
            size += len(chunk)
            chunks.append(chunk)
        return b"".join(chunks)
    finally:
        bodies.give(size)


def bounded(body: bytes) -> bytes:
    """`body`, an array in JSON or lines of it, to be parsed into items. Raises TooLarge if it has over MAX_ITEMS.

    An item may be two bytes long and takes over a hundred in memory, so a limit on bytes alone does not bound memory.
    """
    if max(body.count(b","), body.count(b"\n")) > MAX_ITEMS:
        raise TooLarge(f"body: over {MAX_ITEMS} commas or lines; send fewer samples or events at a time")
    return body

"""A small HTTP server on loopback, for the doubles that answer from a thread."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from sentinel.errors import Unavailable

MAX_BODY_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request, header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What to answer."""

    status: int
    content_type: str
    body: bytes


class LoopbackServer:
    """Hands each request to `answer`, which may be called from several threads at once.

    Raises Unavailable if `port` is taken; 0 chooses a free one.
    """

    def __init__(self, answer: Callable[[Request], Reply], port: int = 0) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Head and body in one packet: else Nagle's algorithm keeps the body back until the head's late ACK, 40 ms.
            wbufsize = -1

            def _serve(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                if length > MAX_BODY_BYTES:
                    self.close_connection = True
                    self._send(Reply(status=413, content_type="text/plain", body=b"the body is too large\n"))
                    return
                headers = {name.lower(): value for name, value in self.headers.items()}
                body = self.rfile.read(length)
                self._send(answer(Request(method=self.command, path=self.path, headers=headers, body=body)))

            do_GET = do_POST = do_PUT = do_DELETE = _serve

            def _send(self, reply: Reply) -> None:
                self.send_response(reply.status)
                self.send_header("Content-Type", reply.content_type)
                self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                self.wfile.write(reply.body)

            def log_message(self, format: str, *args: object) -> None:
                """Nothing: a double's traffic is read from its state, not from a log."""

        try:
            self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        except OSError as error:
            raise Unavailable(f"port {port} cannot be listened on ({error.strerror})") from None
        self._server.daemon_threads = True
        # Kept-alive connections outlive their use; waiting for them would hold up the end of the process.
        self._server.block_on_close = False
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, name="loopback-server", daemon=True
        )

    @property
    def port(self) -> int:
        """Where it listens; already bound before `start`."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """Its address, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Stop answering and free the port. Calling it before `start` or twice is harmless."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

"""An HTTP service on loopback that fails as often as it is told."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


class FlakyServer(ThreadingHTTPServer):
    """Answers with the given statuses in order, then with 200; remembers what came."""

    def __init__(self, statuses: list[int]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.statuses = statuses
        self.seen: list[tuple[str, str]] = []
        """Attempt and idempotency key of each request."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/price"


class _Handler(BaseHTTPRequestHandler):
    server: FlakyServer

    def do_GET(self) -> None:
        self.server.seen.append((self.headers["Wf-Attempt"], self.headers["Idempotency-Key"]))
        status = self.server.statuses.pop(0) if self.server.statuses else 200
        body = json.dumps({"price": 12.5} if status == 200 else {"error": status}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""


@contextmanager
def flaky_server(*statuses: int) -> Iterator[FlakyServer]:
    """The service, for as long as the block lasts."""
    with FlakyServer(list(statuses)) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()

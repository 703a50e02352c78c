"""Any retriever as a search server that speaks the four protocols of `wire` at one address.

The standard library's threaded server: what a request costs is the search, and many clients gain from batches, not
from an event loop.
"""

import contextlib
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tir_gym.core.interfaces import Retriever
from tir_gym.core.tool import EnvError
from tir_gym.retrieval import wire

MAX_BODY = 1 << 23
"""Bytes of a request."""

MAX_QUERIES = 4_096
"""Of one request."""

PATHS = ("/retrieve", "/search", "/batch_search")


class RetrieverServer:
    """Serves a retriever at `address` until closed; it listens from the start, on a free port where `port` is 0.

    Anyone who reaches the port may search: give a host other than this machine's own only in a network that you trust.
    """

    def __init__(self, retriever: Retriever, host: str = "127.0.0.1", port: int = 8000, default_k: int = 3) -> None:
        self._server = _Server((host, port), retriever, default_k)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """Where clients ask."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    def wait(self) -> None:
        """Serve until interrupted."""
        self._thread.join()

    def close(self) -> None:
        """Stop, and cut the connections that are open."""
        self._server.shutdown()
        self._thread.join()
        self._server.close_all()

    def __enter__(self) -> "RetrieverServer":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True
    request_queue_size = 256

    def __init__(self, address: tuple[str, int], retriever: Retriever, default_k: int) -> None:
        self.retriever, self.default_k = retriever, default_k
        self._open: set[socket.socket] = set()
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""

    def close_all(self) -> None:
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    server_version = "tir-gym"
    disable_nagle_algorithm = True
    wbufsize = -1
    timeout = 60
    """Seconds for a request to come in, and of silence on a kept connection."""

    def do_GET(self) -> None:
        """`/health`, as ReCall's server has it."""
        if self.path == "/health":
            self._json(200, {"status": "healthy", "content_hash": self.server.retriever.content_hash})
        else:
            self._json(404, {"detail": f"there is /health, and {', '.join(PATHS)} to post to"})

    def do_POST(self) -> None:
        """Search."""
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > MAX_BODY:
            self.close_connection = True
            self._json(413 if length.isdecimal() else 411, {"detail": f"send a body of at most {MAX_BODY} bytes"})
            return
        body = self.rfile.read(int(length))
        if self.path not in PATHS:
            self._json(404, {"detail": f"post to one of {', '.join(PATHS)}"})
            return
        try:
            ask = wire.read_request(self.path, self.headers.get("Content-Type", ""), body, self.server.default_k)
            if len(ask.queries) > MAX_QUERIES:
                raise ValueError(f"{len(ask.queries)} queries: ask at most {MAX_QUERIES} at a time")
        except (ValueError, RecursionError) as error:
            self._json(422, {"detail": str(error)})
            return
        try:
            found = self.server.retriever.search(ask.queries, ask.k)
        except EnvError as error:
            self._json(503, {"detail": str(error)})
            return
        self._send(200, *wire.answer_body(ask, found))

    def _json(self, status: int, value: dict[str, Any]) -> None:
        self._send(status, wire.JSON, json.dumps(value).encode())

    def _send(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  its name in the base class
        """Nothing is logged: queries are the user's."""

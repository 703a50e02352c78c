"""A real HTTP server on 127.0.0.1 that speaks the chat API's streaming and plays a scripted model, faults included."""

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Say = Callable[[dict[str, Any]], dict[str, Any]]
"""The model: a request's JSON -> an assistant message, with "finish_reason" and "logprobs" beside where wanted."""


class ModelServer:
    """`with ModelServer(model) as server:` serves at `server.url`; `faults` are played first, one a request.

    Faults: a status ("429", "500", "401", "400"), "reset", "html", "silent" before a stream; "cut" (half of it),
    "garbage", "error event", "slow body" (comments for ever), "endless" (text for ever) in it.
    Stop strings are obeyed and stripped, as the chat API does. `requests` are the bodies received, `keys` the
    Authorization headers.
    """

    def __init__(self, model: Say, faults: list[str] | None = None) -> None:
        self.model = model
        self.faults = list(faults or [])
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.closing = threading.Event()
        self.asked = threading.Event()
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        owner = self

        class Handler(_Handler):
            server_of = owner

        class Server(ThreadingHTTPServer):
            daemon_threads = False
            request_queue_size = 64

            def process_request(self, request: Any, client_address: Any) -> None:
                owner._open.add(request)
                super().process_request(request, client_address)

            def shutdown_request(self, request: Any) -> None:
                owner._open.discard(request)
                super().shutdown_request(request)

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A client that hangs up is no error here."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> "ModelServer":
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.closing.set()
        self._server.shutdown()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._server.server_close()  # waits for the threads of all requests
        self._thread.join()

    def take(self, body: dict[str, Any], key: str) -> str:
        """Note a request; the fault to answer it with, "" for none."""
        with self._lock:
            self.requests.append(body)
            self.keys.append(key)
            fault = self.faults.pop(0) if self.faults else ""
        self.asked.set()
        return fault


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_of: ModelServer

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Silence."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        fault = self.server_of.take(body, self.headers.get("Authorization", ""))
        assert self.path == "/v1/chat/completions"
        assert body["stream"] is True
        if fault in ("429", "500", "401", "400"):
            self._refuse(int(fault))
        elif fault == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            self.close_connection = True
        elif fault == "html":
            self._whole(200, "text/html", b"<html>Sign in first</html>")
        elif fault == "silent":
            self.server_of.closing.wait()
            self.close_connection = True
        else:
            self._stream(body, fault)

    def _refuse(self, status: int) -> None:
        secret = self.headers.get("Authorization", "")
        error = json.dumps({"error": {"message": f"no, not with {secret}", "type": "x"}}).encode()
        self._whole(status, "application/json", error, {"Retry-After": "0"} if status == 429 else {})

    def _whole(self, status: int, kind: str, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, body: dict[str, Any], fault: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        chunks = list(chunks_of(self.server_of.model(body), body))
        if fault == "cut":
            chunks = chunks[: len(chunks) // 2]
        for chunk in chunks:
            self._event(json.dumps(chunk))
            if fault == "garbage":
                self._event('{"choices": [{"delta": {"conte')
            if fault == "error event":
                self._event('{"error": {"message": "the engine died"}}')
            if fault == "slow body":
                while not self.server_of.closing.wait(0.01):
                    self._chunk(b": still here\n\n")
            while fault == "endless" and not self.server_of.closing.is_set():
                self._event(json.dumps(_chunk({"content": "and so on " * 100})))
        if fault != "cut":
            self._event("[DONE]")
        self._chunk(b"")

    def _event(self, data: str) -> None:
        self._chunk(f"data: {data}\n\n".encode())

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()


def chunks_of(message: dict[str, Any], request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A message as the chunks of a stream: text in pieces of 7 characters, calls in fragments that share an index."""
    yield _chunk({"role": "assistant", "content": ""})
    for piece in _pieces(message.get("reasoning_content") or ""):
        yield _chunk({"reasoning_content": piece})
    text, stops = message.get("content") or "", request.get("stop", [])
    ends = [at for stop in stops if (at := text.find(stop)) >= 0]
    text = text[: min(ends)] if ends and not message.get("keeps_stops") else text
    for piece in _pieces(text):
        yield _chunk({"content": piece})
    for index, call in enumerate(message.get("tool_calls") or ()):
        function = call["function"]
        head = {"index": index, "id": call["id"], "type": "function", "function": {"name": function["name"]}}
        yield _chunk({"tool_calls": [head]})
        for piece in _pieces(function["arguments"]):
            yield _chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    for extra in message.get("choices", ()):
        yield _chunk({}) | {"choices": [{"index": 0, "delta": {}, "finish_reason": None, **extra}]}
    finish = message.get("finish_reason") or ("tool_calls" if message.get("tool_calls") else "stop")
    yield _chunk({}) | {"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}
    yield {**_chunk({}), "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}


def _pieces(text: str) -> Iterator[str]:
    return (text[at : at + 7] for at in range(0, len(text), 7))


def _chunk(delta: dict[str, Any]) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": None}
    return {"id": "1", "object": "chat.completion.chunk", "created": 0, "model": "scripted", "choices": [choice]}


def scripted_model(scripts: dict[str, list[dict[str, Any]]]) -> Say:
    """A model that recognises an episode by a text that its messages contain and says that script's next message."""

    def say(request: dict[str, Any]) -> dict[str, Any]:
        told = [m for m in request["messages"] if m["role"] == "user"]
        text = told[0]["content"] if isinstance(told[0]["content"], str) else told[0]["content"][0]["text"]
        (script,) = [script for mark, script in scripts.items() if mark in text]
        return script[sum(m["role"] == "assistant" for m in request["messages"])]

    return say

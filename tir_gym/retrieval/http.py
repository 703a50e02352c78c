"""A retriever on the other side of HTTP, in any of the four protocols of `wire`."""

import hashlib
import http.client
import os
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

from tir_gym.core.interfaces import Hit, Passage, Retriever
from tir_gym.core.tool import EnvError, Refused
from tir_gym.retrieval import wire

_REMEMBERED = 100_000
_MAX_ANSWER = 1 << 28
_RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})


class Http(Retriever):
    """Asks a search server. Connections are kept and shared by threads; a process that was forked makes its own.

    `timeout_s` bounds a whole `search`, retries included; what then has no answer raises `EnvError`, so the episode is
    invalid, never wrong. Where the protocol takes one query a request, `connections` of them are under way at a time;
    else requests hold `batch` queries. `get` knows the passages that this client has seen (the last 100,000): none of
    the protocols fetches by id.
    """

    def __init__(
        self,
        url: str,
        protocol: str = "search-r1",
        *,
        timeout_s: float = 30.0,
        attempts: int = 3,
        batch: int = 64,
        connections: int = 8,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"url={url!r} must look like http://host:port")
        if protocol not in wire.PROTOCOLS:
            raise ValueError(f"protocol={protocol!r} must be one of {', '.join(wire.PROTOCOLS)}")
        if min(timeout_s, attempts, batch, connections) <= 0:
            raise ValueError("timeout_s, attempts, batch and connections must be greater than 0")
        self._url, self._protocol, self._attempts = url, protocol, attempts
        self._timeout_s, self._batch, self._connections = timeout_s, batch, connections
        path = parts.path.rstrip("/")
        named = path.endswith(("/retrieve", "/search", "/batch_search"))
        self._path = (
            path if named and protocol != "research" else path.removesuffix("/batch_search") + wire.path_of(protocol)
        )
        self._secure, self._host, self._port = parts.scheme == "https", parts.hostname, parts.port
        self._idle: deque[http.client.HTTPConnection] = deque()
        self._owner = os.getpid()
        self._seen: OrderedDict[str, Passage] = OrderedDict()

    @property
    def knows_all(self) -> bool:
        """False: a server is asked for hits only."""
        return False

    @property
    def content_hash(self) -> str:
        """Of address and protocol; what the server holds is out of sight."""
        return hashlib.sha256(f"http\0{self._url}\0{self._protocol}".encode()).hexdigest()

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """What the server finds, scores rounded to 5 places. Raises `EnvError` where it does not answer in time."""
        if k < 1:
            raise ValueError(f"k={k} must be at least 1")
        size = self._batch if wire.takes_batches(self._protocol) else 1
        chunks = [queries[start : start + size] for start in range(0, len(queries), size)]
        if not chunks:
            return []
        with _Deadline(self._timeout_s) as deadline:
            if len(chunks) == 1:
                found = [self._ask(chunks[0], k, deadline)]
            else:
                with ThreadPoolExecutor(min(self._connections, len(chunks))) as pool:
                    found = list(pool.map(lambda chunk: self._ask(chunk, k, deadline), chunks))
        hits = [hits for chunk in found for hits in chunk]
        self._remember(hits)
        return hits

    def get(self, doc_id: str) -> Passage:
        """The passage with this id, if this client has seen it. Raises `KeyError`."""
        try:
            return self._seen[doc_id]
        except KeyError:
            raise KeyError(f"no passage seen so far has the id {doc_id!r}") from None

    def close(self) -> None:
        """Close the connections that are kept."""
        while self._idle:
            self._idle.pop().close()
        self._seen.clear()

    def _remember(self, found: list[list[Hit]]) -> None:
        for hits in found:
            for hit in hits:
                self._seen[hit.id] = Passage(hit.id, hit.title, hit.text)
        while len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)

    def _ask(self, queries: Sequence[str], k: int, deadline: "_Deadline") -> list[list[Hit]]:
        """One request, tried again while there is time and reason to."""
        content_type, body = wire.request_body(self._protocol, queries, k)
        trouble, tries = "", 0
        while tries < self._attempts and deadline.left > 0:
            connection, reused = self._take()
            try:
                status, answer = _exchange(connection, self._path, content_type, body, deadline)
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                trouble = f"{type(error).__name__}: {error}"
                if not reused:  # a kept connection may have been closed since; that is no failure of the server
                    tries += 1
                    deadline.pause(0.05 * 2**tries)
                continue
            self._idle.append(connection)
            if status == 200:
                try:
                    return wire.hits_of(self._protocol, answer, len(queries), k)
                except ValueError as error:
                    raise EnvError(f"the answer of {self._url} cannot be read: {error}") from None
            trouble = f"HTTP {status}: {answer[:200].decode('utf-8', 'replace')}"
            tries += 1
            if status not in _RETRIED:
                raise Refused(f"{self._url} gave no hits: {trouble}")
            deadline.pause(0.05 * 2**tries)
        spent = f"within {self._timeout_s:g} s" if deadline.left <= 0 else f"in {tries} attempts"
        raise EnvError(f"{self._url} gave no hits {spent}: {trouble or 'no time was left to ask'}")

    def _take(self) -> tuple[http.client.HTTPConnection, bool]:
        """A connection, and whether it was used before."""
        if self._owner != os.getpid():
            self._idle, self._owner = deque(), os.getpid()
        try:
            return self._idle.pop(), True
        except IndexError:
            kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
            return kind(self._host, self._port), False

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self._url, self._protocol, self._timeout_s, self._attempts, self._batch, self._connections)


def _again(url: str, protocol: str, timeout_s: float, attempts: int, batch: int, connections: int) -> Http:
    return Http(url, protocol, timeout_s=timeout_s, attempts=attempts, batch=batch, connections=connections)


def _exchange(
    connection: http.client.HTTPConnection, path: str, content_type: str, body: bytes, deadline: "_Deadline"
) -> tuple[int, bytes]:
    """Status and body of the answer."""
    with deadline.cuts(connection):
        connection.timeout = max(deadline.left, 0.001)
        if connection.sock is None:
            connection.connect()
        connection.sock.settimeout(connection.timeout)
        connection.request("POST", path, body, {"Content-Type": content_type, "Accept": content_type})
        response = connection.getresponse()
        answer = response.read(_MAX_ANSWER + 1)
        if response.length:  # it ended early, which `read` of a length does not say
            raise http.client.IncompleteRead(answer, response.length)
        if len(answer) > _MAX_ANSWER:
            raise http.client.HTTPException(f"the answer is longer than {_MAX_ANSWER} bytes")
        return response.status, answer


class _Deadline:
    """The time that a search has. When it is up, connections in use are cut, so that one that drips ends, too."""

    def __init__(self, seconds: float) -> None:
        self._at = time.monotonic() + seconds
        self._over = threading.Event()
        self._using: set[http.client.HTTPConnection] = set()
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True

    def __enter__(self) -> "_Deadline":
        self._timer.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._timer.cancel()
        self._timer.join()

    @property
    def left(self) -> float:
        """Seconds, at least 0."""
        return 0.0 if self._over.is_set() else max(0.0, self._at - time.monotonic())

    def pause(self, seconds: float) -> None:
        """Wait before the next attempt, at most until the end."""
        self._over.wait(min(seconds, self.left))

    def cuts(self, connection: http.client.HTTPConnection) -> "_Use":
        """While this lasts, the connection is cut when time is up."""
        return _Use(self._using, connection)

    def _cut(self) -> None:
        self._over.set()
        for connection in list(self._using):
            sock = connection.sock
            if sock is not None:
                _shut(sock)


class _Use:
    """A connection in use."""

    def __init__(self, using: set[http.client.HTTPConnection], connection: http.client.HTTPConnection) -> None:
        self._using, self._connection = using, connection

    def __enter__(self) -> None:
        self._using.add(self._connection)

    def __exit__(self, *error: object) -> None:
        self._using.discard(self._connection)


def _shut(sock: Any) -> None:
    try:
        sock.shutdown(2)
    except OSError:
        return  # it was closed already

"""Messages to and from a worker that runs SQL: JSON and, to it, the bytes of a database."""

import json
import select
import time
from collections.abc import Iterable, Iterator
from typing import Any

from tir_gym.envs.sql.worker.serve import HEADER
from tir_gym.workers import Lost, Worker

_PATIENCE = 5
_MARGIN = 10.0
"""Seconds that a worker may take for each one of processor time that it has, and beyond all of these."""
_CHUNK = 1 << 16
_encode = json.JSONEncoder(separators=(",", ":")).encode


def replies(worker: Worker, request: dict[str, Any], blob: bytes, work: Iterable[float]) -> Iterator[dict[str, Any]]:
    """The replies to a request, as they come: one for each of `work`, seconds of processor time that it may cost.

    Raises `Lost` where the worker ends, `silent` where it has worked for longer. Nothing else is to be sent before all
    replies are taken.
    """
    text = _encode(request).encode()
    channel, held, size = worker.channel, bytearray(), HEADER.size
    try:
        before = worker.worked()
        for number, seconds in enumerate(work):
            if text:
                channel.settimeout(_PATIENCE * seconds + _MARGIN)
                channel.sendall(HEADER.pack(len(text), len(blob)) + text)
                if blob:
                    channel.sendall(blob)
                text = b""
            channel.settimeout(seconds)  # in no more time it cannot have worked for longer
            while len(held) < size or len(held) < size + HEADER.unpack_from(held)[0]:
                try:
                    part = channel.recv(_CHUNK)
                except TimeoutError:
                    _await(worker, (worker.worked() if number else before) + seconds, _PATIENCE * seconds + _MARGIN)
                    continue
                if not part:
                    raise Lost("it ended")
                held += part
            end = size + HEADER.unpack_from(held)[0]
            found: dict[str, Any] = json.loads(held[size:end])
            del held[:end]
            yield found
    except OSError as error:
        raise Lost(str(error)) from error


def _await(worker: Worker, until: float, patience: float) -> None:
    """Wait until the worker says something.

    Raises `Lost`: `silent` where it works on although its clock has passed `until`, else where it does not get to work.
    """
    poll = select.poll()
    poll.register(worker.channel, select.POLLIN)
    started = time.monotonic()
    while not poll.poll(20):
        if worker.worked() > until:
            raise Lost("it is still at work", silent=True)
        if time.monotonic() - started > patience:
            raise Lost("it does not get to work")

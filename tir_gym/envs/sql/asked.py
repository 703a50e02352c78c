"""One request to the SQL worker and its reply, within so much of the worker's processor time."""

import json
import select
import time
from typing import Any

from tir_gym.envs.sql.worker.serve import HEADER
from tir_gym.workers import Lost, Worker

_PATIENCE = 5
_MARGIN = 10.0
"""Seconds that a worker may take for each one of processor time that it has, and beyond all of these."""
_CHUNK = 1 << 16


def reply_of(worker: Worker, request: dict[str, Any], blob: bytes, seconds: float) -> dict[str, Any]:
    """The reply. Raises `Lost`, `silent` where the worker is still at work after `seconds`."""
    text = json.dumps(request, separators=(",", ":")).encode()
    channel = worker.channel
    try:
        before = worker.worked()
        channel.settimeout(_PATIENCE * seconds + _MARGIN)
        channel.sendall(HEADER.pack(len(text), len(blob)) + text)
        if blob:
            channel.sendall(blob)
        channel.settimeout(seconds)  # in no more time it cannot have worked for longer
        try:
            held = channel.recv(_CHUNK)
        except TimeoutError:
            _await(worker, before + seconds, _PATIENCE * seconds + _MARGIN)
            held = channel.recv(_CHUNK)
        while held and len(held) < HEADER.size:
            held += channel.recv(_CHUNK)
        end = HEADER.size + HEADER.unpack_from(held)[0] if held else 0
        if len(held) < end:
            parts, size = [held], len(held)
            while size < end and (part := channel.recv(min(end - size, 1 << 20))):
                parts.append(part)
                size += len(part)
            held = b"".join(parts)
    except OSError as error:
        raise Lost(str(error)) from error
    if not held or len(held) != end:
        raise Lost("it ended")
    found: dict[str, Any] = json.loads(held[HEADER.size :])
    return found


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

"""Frames between the host and a session: packing, and the checks nothing from a session escapes. Host side."""

import json
import struct
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from tir_gym.core.interfaces import RunStatus

MAGIC = b"\xff\xff\xff\xff"
NOTE = 24
CHUNK = 1 << 19
DONE = {
    "t": str,
    "token": str,
    "status": str,
    "value": str,
    "error": str,
    "traceback": str,
    "stdout": str,
    "stderr": str,
    "cpu": float,
    "memory": int,
}
CALL = {"t": str, "token": str, "id": int, "tool": str, "arguments": dict}
FILE = {"t": str, "token": str, "data": str, "error": str}
FORKED = {"t": str, "token": str, "error": str}
STATUS = {"ok": RunStatus.OK, "exception": RunStatus.EXCEPTION, "memory": RunStatus.MEMORY}


class BadFrameError(Exception):
    """The guest sent what no honest guest sends."""


def _no_constant(name: str) -> Any:
    raise BadFrameError(f"{name} is not JSON")


def pack(message: dict[str, Any]) -> bytes:
    """A message as it travels: its length in four bytes, then JSON. Raises `TypeError` or `ValueError`."""
    body = json.dumps(message, allow_nan=False).encode()
    return struct.pack("!I", len(body)) + body


def clean(text: str, limit: int) -> str:
    """Well-formed text of at most about `limit` characters, whatever the guest sent."""
    text = text if len(text) <= limit + 100 else text[: limit + 100]
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def check(message: dict[str, Any], shape: Mapping[str, type]) -> None:
    """Raise `BadFrameError` unless the keys are exactly those of `shape`, each of its type and in range."""
    if message.keys() != shape.keys():
        raise BadFrameError(f"a {message['t']!r} frame with the keys {sorted(message)[:12]}")
    for key, kind in shape.items():
        value = message[key]
        if type(value) is not kind and not (kind is float and type(value) is int):
            raise BadFrameError(f"{key!r} in a {message['t']!r} frame is a {type(value).__name__}")
        if isinstance(value, int | float) and not 0 <= value < 1 << 50:
            raise BadFrameError(f"{key!r} in a {message['t']!r} frame is out of range")


def relative_path(path: str) -> str:
    """`path` in normal form. Raises `ValueError` unless it names something inside the working directory."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\0" in path or len(path) > 1000 or path.endswith("/"):
        raise ValueError(f"{path!r} is not a path inside the working directory; use one like 'data/table.csv'")
    return "/".join(parts)


def unpack(body: bytes) -> dict[str, Any]:
    """The message in a frame's body. Raises `BadFrameError` for whatever is not a JSON object with a type."""
    try:
        message = json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BadFrameError(f"{type(error).__name__} in a frame") from None
    if not isinstance(message, dict) or not isinstance(message.get("t"), str):
        raise BadFrameError("a frame without a type")
    return message

"""Frames between the host and a session: packing, and the checks nothing from a session escapes. Host side."""

import json
import math
import re
import struct
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from tir_gym.core.interfaces import RunStatus

MAGIC = b"\xff\xff\xff\xff"
NOTE = 24
"""Bytes of the fork server's word in a session's channel: the session's secret, then two numbers."""
BORN = -2
"""In place of an exit status: the fork server knows this copy."""
MAX_ARGUMENTS, MAX_DEPTH = 100_000, 64
"""Of a tool call's arguments: characters as JSON, and levels."""
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
STATUS = {
    status.value: status for status in (RunStatus.OK, RunStatus.EXCEPTION, RunStatus.MEMORY, RunStatus.OUTPUT_LIMIT)
}

_SURROGATES = re.compile("[\ud800-\udfff]")


class BadFrameError(Exception):
    """The guest sent what no honest guest sends."""


def _no_constant(name: str) -> Any:
    raise BadFrameError(f"{name} is not JSON")


_encode = json.JSONEncoder(allow_nan=False).encode
_decode = json.JSONDecoder(parse_constant=_no_constant).decode


def pack(message: dict[str, Any]) -> bytes:
    """A message as it travels: its length in four bytes, then JSON. Raises `TypeError` or `ValueError`."""
    body = _encode(message).encode()
    return struct.pack("!I", len(body)) + body


def clean(text: str, limit: int) -> str:
    """Well-formed text of at most about `limit` characters, whatever the guest sent."""
    text = text if len(text) <= limit + 100 else text[: limit + 100]
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def check(message: dict[str, Any], shape: Mapping[str, type]) -> None:
    """Raise `BadFrameError` unless the keys are exactly those of `shape`, each of its type and in range."""
    if message.keys() != shape.keys():
        keys = [key[:20] for key in sorted(message)[:12]]
        raise BadFrameError(f"a {message['t'][:20]!r} frame with the keys {keys}")
    for key, kind in shape.items():
        value = message[key]
        if type(value) is not kind and not (kind is float and type(value) is int):
            raise BadFrameError(f"{key!r} in a {message['t']!r} frame is a {type(value).__name__}")
        if isinstance(value, int | float) and not 0 <= value < 1 << 50:
            raise BadFrameError(f"{key!r} in a {message['t']!r} frame is out of range")


def proper(arguments: dict[str, Any]) -> dict[str, Any]:
    """A tool call's arguments as well-formed JSON data in bounds. Raises `ValueError` with the reason."""
    fixed: dict[str, Any] = _proper(arguments, 0)
    size = len(json.dumps(fixed, ensure_ascii=False))
    if size > MAX_ARGUMENTS:
        raise ValueError(f"the arguments take {size} characters as JSON; at most {MAX_ARGUMENTS} are passed on")
    return fixed


def _proper(value: Any, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise ValueError(f"the arguments are nested more than {MAX_DEPTH} levels deep")
    if isinstance(value, str):
        return value if value.isascii() else _SURROGATES.sub("\ufffd", value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("the arguments hold a number that is not finite")
    if isinstance(value, list):
        return [_proper(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {_proper(key, depth): _proper(item, depth + 1) for key, item in value.items()}
    return value


def require_seed(seed: int) -> None:
    """Raise `TypeError` for anything but an int, of which a session could not seed its generators."""
    if not isinstance(seed, int):
        raise TypeError(f"seed={seed!r} must be an int")


def relative_path(path: str) -> str:
    """`path` in normal form. Raises `ValueError` unless it names something inside the working directory."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\0" in path or len(path) > 1000 or path.endswith("/"):
        raise ValueError(f"{path!r} is not a path inside the working directory; use one like 'data/table.csv'")
    return "/".join(parts)


def unpack(body: bytes) -> dict[str, Any]:
    """The message in a frame's body. Raises `BadFrameError` for whatever is not a JSON object with a type."""
    try:
        message = _decode(body.decode())
    except (ValueError, RecursionError) as error:
        raise BadFrameError(f"{type(error).__name__} in a frame") from None
    if not isinstance(message, dict) or not isinstance(message.get("t"), str):
        raise BadFrameError("a frame without a type")
    return message

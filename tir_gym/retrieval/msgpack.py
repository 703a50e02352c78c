"""MessagePack for JSON-like data (msgpack.org, specification of 2013): what GEM's search server speaks."""

import struct
from typing import Any

_MAX_DEPTH = 32
_PACKED_LENGTH = {
    "str": ((1 << 8, 0xD9, ">B"), (1 << 16, 0xDA, ">H"), (1 << 32, 0xDB, ">I")),
    "list": ((1 << 16, 0xDC, ">H"), (1 << 32, 0xDD, ">I")),
    "dict": ((1 << 16, 0xDE, ">H"), (1 << 32, 0xDF, ">I")),
}
_SMALL = {"str": (32, 0xA0), "list": (16, 0x90), "dict": (16, 0x80)}
_NUMBERS = {
    0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q", 0xD0: ">b", 0xD1: ">h", 0xD2: ">i",
    0xD3: ">q",
}  # fmt: skip
_LENGTHS = {0xC4: ">B", 0xC5: ">H", 0xC6: ">I", 0xD9: ">B", 0xDA: ">H", 0xDB: ">I"}
_COUNTS = {0xDC: ">H", 0xDD: ">I", 0xDE: ">H", 0xDF: ">I"}


def packb(value: Any) -> bytes:
    """JSON data as MessagePack. Raises `TypeError` for anything else, `OverflowError` for integers beyond 64 bits."""
    match value:
        case None:
            return b"\xc0"
        case bool():
            return b"\xc3" if value else b"\xc2"
        case int():
            if not -(1 << 63) <= value < 1 << 64:
                raise OverflowError(f"{value} does not fit into 64 bits")
            if -32 <= value < 128:
                return struct.pack(">b" if value < 0 else ">B", value)
            return struct.pack(">Bq", 0xD3, value) if value < 1 << 63 else struct.pack(">BQ", 0xCF, value)
        case float():
            return struct.pack(">Bd", 0xCB, value)
        case str():
            raw = value.encode("utf-8", "surrogatepass")
            return _length("str", len(raw)) + raw
        case list() | tuple():
            return _length("list", len(value)) + b"".join(map(packb, value))
        case dict():
            return _length("dict", len(value)) + b"".join(packb(key) + packb(item) for key, item in value.items())
    raise TypeError(f"{type(value).__name__} has no place in a message")


def unpackb(data: bytes) -> Any:
    """The one value that these bytes are. Raises `ValueError` where they are none, or something follows."""
    try:
        value, end = _read(data, 0, 0)
    except (struct.error, IndexError):
        raise ValueError("the message ends too early") from None
    if end != len(data):
        raise ValueError(f"{len(data) - end} bytes follow the message")
    return value


def _length(kind: str, count: int) -> bytes:
    below, tag = _SMALL[kind]
    if count < below:
        return bytes([tag | count])
    for limit, tag, form in _PACKED_LENGTH[kind]:
        if count < limit:
            return bytes([tag]) + struct.pack(form, count)
    raise OverflowError(f"a {kind} of {count} is too long")


def _read(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    if depth > _MAX_DEPTH:
        raise ValueError(f"the message is nested deeper than {_MAX_DEPTH} levels")
    tag, at = data[at], at + 1
    if tag < 0x80:
        return tag, at
    if tag >= 0xE0:
        return tag - 256, at
    if tag < 0xA0:
        return _items(data, at, depth, tag & 0x0F, mapping=tag < 0x90)
    if tag < 0xC0:
        return _text(data, at, tag & 0x1F)
    if tag in (0xC0, 0xC2, 0xC3):
        return {0xC0: None, 0xC2: False, 0xC3: True}[tag], at
    if form := _NUMBERS.get(tag):
        return struct.unpack_from(form, data, at)[0], at + struct.calcsize(form)
    if form := _LENGTHS.get(tag):
        (size,) = struct.unpack_from(form, data, at)
        at += struct.calcsize(form)
        return _text(data, at, size) if tag >= 0xD9 else _raw(data, at, size)
    if form := _COUNTS.get(tag):
        (count,) = struct.unpack_from(form, data, at)
        return _items(data, at + struct.calcsize(form), depth, count, mapping=tag >= 0xDE)
    raise ValueError(f"byte 0x{tag:02x} begins nothing that is read here")


def _raw(data: bytes, at: int, size: int) -> tuple[bytes, int]:
    if at + size > len(data):
        raise ValueError("the message ends too early")
    return data[at : at + size], at + size


def _text(data: bytes, at: int, size: int) -> tuple[str, int]:
    raw, end = _raw(data, at, size)
    return raw.decode("utf-8", "replace"), end


def _items(data: bytes, at: int, depth: int, count: int, *, mapping: bool) -> tuple[Any, int]:
    found = []
    for _ in range(2 * count if mapping else count):
        item, at = _read(data, at, depth + 1)
        found.append(item)
    if not mapping:
        return found, at
    try:
        return dict(zip(found[::2], found[1::2], strict=True)), at
    except TypeError:
        raise ValueError("a key is a list or a map") from None

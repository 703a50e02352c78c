"""An index is a folder, put in place whole, with a `manifest.json` that says what it holds and hashes its files."""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

FORMAT = "tir-gym-index-1"
"""The layout of the folder; an index of another is made anew."""

_NAME = "manifest.json"


def cache_root() -> Path:
    """Where what is made once is kept: `TIR_GYM_CACHE`, or `tir_gym` in the user's cache folder."""
    if own := os.environ.get("TIR_GYM_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tir_gym"


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of the index in a folder. Raises `FileNotFoundError` or `ValueError`, which say what to do."""
    try:
        text = (path / _NAME).read_text()
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"{path} holds no index (no manifest.json); make one: tir-gym index build") from None
    try:
        manifest = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{path / _NAME} is not JSON ({error}); build the index again") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ValueError(f"{path} is no index of the format {FORMAT!r}; build it again with this version")
    return manifest


def write_manifest(folder: Path, about: Mapping[str, Any]) -> None:
    """Write what an index holds, and the hashes of the files that lie in its folder by now."""
    files = {str(file.relative_to(folder)): file_hash(file) for file in sorted(folder.rglob("*")) if file.is_file()}
    with (folder / _NAME).open("w") as file:
        json.dump({"format": FORMAT, **about, "files": files}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def making(path: Path, kind: str, settings: Mapping[str, Any]) -> Iterator[Path | None]:
    """Make an index of this kind in the folder `path`, unless it is there: the block gets a folder to work in, or None.

    What is in `index` below that folder when the block ends becomes the index, in one rename; all else there is for the
    block to find again if it was interrupted. `settings` name the content: JSON data, equal for equal indexes. One
    process makes, others that want the same folder wait for it. Raises `FileExistsError` where it holds another index.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with alone_in(path.parent):
        if path.exists():
            found = read_manifest(path)
            wanted = {"kind": kind, **settings}
            if other := [key for key, value in wanted.items() if found.get(key) != value]:
                raise FileExistsError(
                    f"{path} holds an index with another {', '.join(other)}; remove it, or choose another folder"
                )
            yield None
            return
        work = path.with_name(f"{path.name}.building")
        final = work / "index"
        shutil.rmtree(final, ignore_errors=True)
        final.mkdir(parents=True)
        yield work
        named = json.dumps([kind, settings], sort_keys=True).encode()
        write_manifest(final, {"kind": kind, **settings, "content_hash": hashlib.sha256(named).hexdigest()})
        final.rename(path)
        shutil.rmtree(work)


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder; it is the system's, so a killed process leaves none behind."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def file_hash(path: Path) -> str:
    """SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def damage(path: Path) -> list[str]:
    """Files of an index that are missing or not what its manifest says; reads them all."""
    files: dict[str, str] = read_manifest(path)["files"]
    return [name for name, wanted in files.items() if not (path / name).is_file() or file_hash(path / name) != wanted]

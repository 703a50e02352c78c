"""`manifest.json` of an index: what it holds, how it was made, and the hash of each of its files."""

import hashlib
import json
from pathlib import Path
from typing import Any

FORMAT = "tir-gym-index-1"
"""The layout of the folder; an index of another is made anew."""


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of the index in a folder. Raises `FileNotFoundError` or `ValueError`, which say what to do."""
    try:
        text = (path / "manifest.json").read_text()
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"{path} holds no index (no manifest.json); make one: tir-gym index build") from None
    try:
        manifest = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{path / 'manifest.json'} is not JSON ({error}); build the index again") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ValueError(f"{path} is no index of the format {FORMAT!r}; build it again with this version")
    return manifest


def file_hash(path: Path) -> str:
    """SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def damage(path: Path) -> list[str]:
    """Files of an index that are missing or not what its manifest says; reads them all."""
    files: dict[str, str] = read_manifest(path)["files"]
    return [name for name, wanted in files.items() if not (path / name).is_file() or file_hash(path / name) != wanted]

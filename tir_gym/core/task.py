"""Problems as data: `Task`, and `TaskSet`, a pure map from (seed, index) to a task."""

import contextlib
import csv
import functools
import gzip
import hashlib
import itertools
import json
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from tir_gym.core.seeding import derive

SPLITS = {"train": 80, "validation": 10, "test": 10}
"""Share of contents, in percent, that belongs to each split of a generated task set."""

DIFFICULTIES = range(1, 11)


@dataclass(frozen=True, slots=True)
class Gold:
    """What only verifiers and oracles may know: the accepted answer, and a plan that reaches it through the tools."""

    answer: Any = None
    plan: Any = None
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Task:
    """One problem. `data` is what the domain's world and tools are built from; `gold` never reaches them.

    `difficulty` is 1 to 10, or 0 where it is unknown. `id` finds the task again in its set.
    """

    id: str
    prompt: str
    index: int = 0
    seed: int = 0
    split: str = "train"
    difficulty: int = 0
    family: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
    gold: Gold = field(default=Gold(), repr=False)

    @property
    def public(self) -> "Task":
        """The task without its gold part: all that tools, users and prompts are given."""
        return replace(self, gold=Gold())

    @property
    def content_hash(self) -> str:
        """Hash of the prompt, by which splits are kept apart."""
        return content_hash(self.prompt)


def content_hash(prompt: str) -> str:
    """64-bit hash of a prompt, blind to letter case and white space, as hexadecimal text."""
    return _hash(" ".join(prompt.casefold().split()))


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def split_of(prompt: str) -> str:
    """The split that a content belongs to wherever splits are made by hash."""
    bucket = int(content_hash(prompt), 16) % 100
    for split, share in SPLITS.items():
        bucket -= share
        if bucket < 0:
            return split
    raise AssertionError("split shares add up to 100")


class TaskSet(ABC):
    """A deterministic map (seed, index) -> `Task`; finite (`size` tasks, the seed is ignored) or infinite (None)."""

    name: str
    size: int | None

    @abstractmethod
    def task(self, seed: int, index: int) -> Task:
        """The task at (seed, index). Raises `IndexError` beyond the end of a finite set."""

    @abstractmethod
    def find(self, task_id: str) -> Task:
        """The task with that id. Raises `KeyError` saying which ids there are."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Hash of what the set is made of: equal fingerprints give equal tasks."""

    def draw(self, seed: int) -> Task:
        """The task that a seed chooses."""
        if self.size is None:
            return self.task(seed, 0)
        return self.task(seed, derive("index", seed) % self.size)

    @abstractmethod
    def __repr__(self) -> str:
        """What the set is, equal in every process: it is written into records."""

    def __iter__(self) -> Iterator[Task]:
        indices = itertools.count() if self.size is None else range(self.size)
        return (self.task(0, index) for index in indices)


class ListedTasks(TaskSet):
    """Tasks that were read beforehand. Raises `ValueError` if two of them have one id."""

    size: int

    def __init__(self, name: str, tasks: Sequence[Task]) -> None:
        self.name = name
        self.size = len(tasks)
        self._tasks = list(tasks)
        self._by_id = {task.id: task for task in tasks}
        if len(self._by_id) < len(tasks):
            twice = next(task.id for task in tasks if self._by_id[task.id] is not task)
            raise ValueError(f"{name}: two tasks have the id {twice!r}")

    def task(self, seed: int, index: int) -> Task:
        """The task of that place; the seed is ignored."""
        if not 0 <= index < self.size:
            raise IndexError(f"task {index} of {self.name}: it has {self.size}")
        return self._tasks[index]

    def find(self, task_id: str) -> Task:
        """The task with that id."""
        if task_id not in self._by_id:
            raise KeyError(f"no task {task_id!r} in {self.name}; its ids are like {self._tasks[0].id!r}")
        return self._by_id[task_id]


@dataclass(frozen=True, slots=True)
class Draft:
    """What a generator makes of random numbers and a level; the task set adds identity and split."""

    prompt: str
    gold: Gold
    family: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)


Generator = Callable[[random.Random, int], Draft]
"""Pure in its arguments (a random generator of its own and a difficulty from 1 to 10) and picklable."""


class GeneratedTasks(TaskSet):
    """Infinitely many tasks from a generator. Splits are disjoint: each content belongs to one, by its hash."""

    def __init__(self, name: str, generator: Generator, *, split: str = "train", difficulty: int | None = None) -> None:
        if split not in SPLITS:
            raise ValueError(f"split {split!r} is not one of {list(SPLITS)}")
        if difficulty is not None and difficulty not in DIFFICULTIES:
            raise ValueError(f"difficulty {difficulty!r} is not a whole number from 1 to 10, or None for any")
        self.name = name
        self.size = None
        self._generator = generator
        self._split = split
        self._difficulty = difficulty

    def task(self, seed: int, index: int) -> Task:
        """The task at (seed, index): contents of other splits are drawn again."""
        level_name = "any" if self._difficulty is None else str(self._difficulty)
        for attempt in range(10_000):
            rng = random.Random(derive(self.name, seed, index, attempt))
            level = self._difficulty or rng.randrange(1, 11)
            draft = self._generator(rng, level)
            if split_of(draft.prompt) == self._split:
                return Task(
                    id=f"{self.name}/{self._split}/{level_name}/{seed}/{index}",
                    prompt=draft.prompt,
                    index=index,
                    seed=seed,
                    split=self._split,
                    difficulty=level,
                    family=draft.family,
                    data=draft.data,
                    gold=draft.gold,
                )
        raise RuntimeError(f"task set {self.name!r} has no content for split {self._split!r}; vary its prompts more")

    def find(self, task_id: str) -> Task:
        """The task whose id this set gave it."""
        match task_id.rsplit("/", 4):
            case [name, split, level, seed, index] if name == self.name and split == self._split:
                if level == str(self._difficulty or "any") and seed.isdecimal() and index.isdecimal():
                    return self.task(int(seed), int(index))
        wanted = f"{self.name}/{self._split}/{self._difficulty or 'any'}/SEED/INDEX"
        raise KeyError(f"no task {task_id!r} in this set; its ids are {wanted}")

    @property
    def fingerprint(self) -> str:
        """Hash of the set's name and options; a golden test ties the name to what the generator makes."""
        return _hash(f"{self.name}/{self._split}/{self._difficulty}")

    def __repr__(self) -> str:
        return f"GeneratedTasks({self.name!r}, split={self._split!r}, difficulty={self._difficulty})"


def same(value: Any) -> Any:
    """The value itself: how a gold column is read where it holds the answer and nothing else."""
    return value


@dataclass(frozen=True, slots=True)
class Fields:
    """Which column (dotted for nested data) holds what; "" for none, "*" for the whole row.

    The functions turn what a column holds into what the task needs: `read_prompt` into text, `read_difficulty` into a
    number from 0 to 10, `read_answer` into the gold answer (or a `Gold`, where data belongs to it), `read_plan` into a
    plan (None: a row has none). They raise `ValueError` for what they cannot read.
    """

    prompt: str
    answer: str
    id: str = ""
    difficulty: str = ""
    family: str = ""
    plan: str = ""
    read_prompt: Callable[[Any], Any] = same
    read_difficulty: Callable[[Any], Any] = same
    read_answer: Callable[[Any], Any] = same
    read_plan: Callable[[Any], Any] = same


class JsonlTasks(TaskSet):
    """Tasks from a file: JSONL, JSON, CSV, TSV or parquet, each also with `.gz` (parquet compresses itself).

    The file is one split, the one named; with `by_hash` only rows whose content hash belongs to that split are kept,
    so that one file serves several splits that never overlap. It is read at the first task. Raises `ValueError` that
    names the file, the row and the field for a row that does not fit, `FileNotFoundError` for a missing file.
    """

    def __init__(self, name: str, path: str | Path, fields: Fields, *, split: str = "test", by_hash: bool = False):
        if by_hash and split not in SPLITS:
            raise ValueError(f"split {split!r} is not one of {list(SPLITS)}")
        self.name = name
        self._path = Path(path)
        self._fields = fields
        self._split = split
        self._by_hash = by_hash

    @property
    def size(self) -> int:  # type: ignore[override]
        """The number of tasks."""
        return len(self._tasks)

    def task(self, seed: int, index: int) -> Task:
        """The task of that row; the seed is ignored."""
        if not 0 <= index < self.size:
            raise IndexError(f"task {index} of {self._path.name}: it has {self.size}")
        return self._tasks[index]

    def find(self, task_id: str) -> Task:
        """The task with that id."""
        if task_id not in self._by_id:
            raise KeyError(f"no task {task_id!r} in {self._path.name}; its ids are like {self._tasks[0].id!r}")
        return self._by_id[task_id]

    @property
    def fingerprint(self) -> str:
        """Hash of the file's tasks, gold included."""
        shown = [(t.id, t.prompt, t.split, t.difficulty, t.family, t.gold.answer, t.gold.data) for t in self._tasks]
        return _hash(repr(shown))

    def __repr__(self) -> str:
        return f"JsonlTasks({self.name!r}, {str(self._path)!r}, split={self._split!r}, by_hash={self._by_hash})"

    @functools.cached_property
    def _tasks(self) -> list[Task]:
        with open_rows(self._path) as rows:
            tasks = [self._make(number, row) for number, row in enumerate(rows)]
        if self._by_hash:
            tasks = [task for task in tasks if split_of(task.prompt) == self._split]
        if not tasks:
            raise ValueError(f"{self._path} holds no task of split {self._split!r}")
        seen: dict[str, int] = {}
        for task in tasks:
            if (first := seen.setdefault(task.id, task.index)) != task.index:
                raise ValueError(f"{self._path}, rows {first} and {task.index}: two tasks have the id {task.id!r}")
        return [replace(task, index=index) for index, task in enumerate(tasks)]

    @functools.cached_property
    def _by_id(self) -> dict[str, Task]:
        return {task.id: task for task in self._tasks}

    def _make(self, number: int, row: Mapping[str, Any]) -> Task:
        def column(path: str, *reads: Callable[[Any], Any]) -> Any:
            try:
                value = _cell(row, path)
                for read in reads:
                    value = read(value)
            except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
                if isinstance(error, KeyError) and error.args and error.args[0] not in row:
                    has = f"no column {error.args[0]!r}; it has {', '.join(map(str, row))}"
                    raise ValueError(f"{self._path}, row {number}: {has} (`Fields` says which holds what)") from error
                raise ValueError(f"{self._path}, row {number}, column {path!r}: {error}") from error
            return value

        fields = self._fields
        return Task(
            id=f"{self.name}/{column(fields.id, _given) if fields.id else number}",
            prompt=column(fields.prompt, fields.read_prompt, _text),
            index=number,
            split=self._split,
            difficulty=column(fields.difficulty, fields.read_difficulty, _level) if fields.difficulty else 0,
            family=str(column(fields.family, _given)) if fields.family else self.name,
            gold=_gold(
                column(fields.answer, _given, fields.read_answer, _given),
                column(fields.plan, fields.read_plan) if fields.plan else None,
            ),
        )

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in vars(self).items() if k not in ("_tasks", "_by_id")}


def _cell(row: Mapping[str, Any], path: str) -> Any:
    """What stands in a column, which may be nested. Raises `KeyError(path)` where there is none."""
    value: Any = row
    for step in () if path == "*" else path.split("."):
        if not isinstance(value, Mapping) or step not in value:
            raise KeyError(path)
        value = value[step]
    return value


def _gold(answer: Any, plan: Any) -> Gold:
    gold = answer if isinstance(answer, Gold) else Gold(answer)
    return gold if plan is None else replace(gold, plan=plan)


def _given(value: Any) -> Any:
    if value is None:
        raise ValueError("there is no value")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"expected text, found {value!r:.80}")
    return value


def _level(value: Any) -> int:
    level = int(value)
    if level not in (0, *DIFFICULTIES):
        raise ValueError(f"difficulty {level} is not from 1 to 10, or 0 for unknown")
    return level


@contextlib.contextmanager
def open_rows(path: Path) -> Iterator[Iterator[dict[str, Any]]]:
    """The rows of a JSONL, JSON (a list of objects), CSV, TSV or parquet file, plain or gzipped, while it is open."""
    suffixes = [s for s in path.suffixes if s != ".gz"]
    kind = suffixes[-1] if suffixes else ""
    if kind == ".parquet":
        import pyarrow.parquet

        yield iter(pyarrow.parquet.read_table(path).to_pylist())
        return
    if kind not in (".jsonl", ".json", ".csv", ".tsv"):
        raise ValueError(f"{path}: the file type must be .jsonl, .json, .csv, .tsv or .parquet (also with .gz)")
    open_text = gzip.open if path.suffix == ".gz" else open
    opened: IO[str]
    table = kind in (".csv", ".tsv")
    with open_text(path, "rt", encoding="utf-8-sig", newline="" if table else None) as opened:
        if table:
            yield csv.DictReader(opened, delimiter="\t" if kind == ".tsv" else ",")
        elif kind == ".json":
            yield _objects(_json(opened.read(), str(path)), path)
        else:
            lines = (line for line in opened if line.strip())
            yield _objects((_json(line, f"{path}, row {number}") for number, line in enumerate(lines)), path)


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"{where}: not JSON: {error}") from error


def _objects(rows: Any, path: Path) -> Iterator[dict[str, Any]]:
    if isinstance(rows, dict | str) or not isinstance(rows, Iterable):
        raise ValueError(f"{path}: expected a list of objects, found {type(rows).__name__}")
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise ValueError(f"{path}, row {number}: expected an object, found {type(row).__name__}")
        yield row


class Mixture(TaskSet):
    """Tasks of several sets, drawn with the given weights; infinite. Ids are those of the parts."""

    def __init__(self, parts: Sequence[TaskSet], weights: Sequence[float] | None = None) -> None:
        weights = [1.0] * len(parts) if weights is None else list(weights)
        if not parts or len(weights) != len(parts) or min(weights) <= 0:
            raise ValueError("a mixture needs at least one task set and a positive weight for each")
        self.name = "+".join(part.name for part in parts)
        self.size = None
        self._parts = tuple(parts)
        self._weights = tuple(weights)

    def task(self, seed: int, index: int) -> Task:
        """A task of the part that (seed, index) chooses."""
        rng = random.Random(derive("mixture", seed, index))
        (part,) = rng.choices(self._parts, self._weights)
        return part.draw(derive("part", seed, index))

    def find(self, task_id: str) -> Task:
        """The task with that id in the first part that knows it."""
        for part in self._parts:
            try:
                return part.find(task_id)
            except KeyError:
                continue
        raise KeyError(f"no task {task_id!r} in any of {[part.name for part in self._parts]}")

    @property
    def fingerprint(self) -> str:
        """Hash of the parts' fingerprints and the weights."""
        return _hash(repr([(p.fingerprint, w) for p, w in zip(self._parts, self._weights, strict=True)]))

    def __repr__(self) -> str:
        return f"Mixture({list(self._parts)!r}, {list(self._weights)!r})"


class Filtered(TaskSet):
    """The tasks of a set that a picklable predicate accepts; finite where the set is.

    The predicate is a named function, a `functools.partial` of one, or an object whose `repr` says all of it (a
    dataclass): its name and values enter the fingerprint, so two different ones must not look alike.
    Raises `ValueError` where nothing, or in 10,000 draws of an infinite set nothing, passes.
    """

    def __init__(self, base: TaskSet, keep: Callable[[Task], bool]) -> None:
        self.name = base.name
        self._base = base
        self._keep = keep
        self._kept = None if base.size is None else [i for i in range(base.size) if keep(base.task(0, i))]
        if self._kept == []:
            raise ValueError(f"no task of {base.name!r} passes the filter")
        self.size = None if self._kept is None else len(self._kept)

    def task(self, seed: int, index: int) -> Task:
        """The `index`-th accepted task, or for an infinite set the first accepted draw from (seed, index)."""
        if self._kept is not None:
            if not 0 <= index < len(self._kept):
                raise IndexError(f"task {index} of {self.name!r}: {len(self._kept)} of its tasks pass the filter")
            return self._base.task(0, self._kept[index])
        for attempt in range(10_000):
            task = self._base.task(derive("filter", seed, index, attempt) if attempt else seed, index)
            if self._keep(task):
                return task
        raise ValueError(f"10,000 draws from {self.name!r} and none passes the filter")

    def find(self, task_id: str) -> Task:
        """The task with that id, if it passes."""
        task = self._base.find(task_id)
        if not self._keep(task):
            raise KeyError(f"task {task_id!r} does not pass the filter")
        return task

    @property
    def fingerprint(self) -> str:
        """Hash of the base set's fingerprint and of the predicate, or of what it kept of a finite set."""
        return _hash(f"{self._base.fingerprint}/{_named(self._keep) if self._kept is None else self._kept}")

    def __repr__(self) -> str:
        return f"Filtered({self._base!r}, {_named(self._keep)})"


def _named(keep: Callable[..., Any]) -> str:
    """A predicate as text that is equal in every process."""
    if isinstance(keep, functools.partial):
        return f"partial({_named(keep.func)}, {keep.args!r}, {sorted(keep.keywords.items())!r})"
    return f"{keep.__module__}.{getattr(keep, '__qualname__', None) or repr(keep)}"

"""MetaTool: its 199 tool descriptions, its queries for one tool and for two.

The folder holds `plugin_des.json` (name -> description), and `queries_first1000.csv` or `all_clean_data.csv` (Query,
Tool) and `multi_tool_first100.json` or `multi_tool_query_golden.json` (query, tool), whichever are there.
"""

import functools
import json
from pathlib import Path
from typing import Any

from tir_gym.core.task import SPLITS, Gold, ListedTasks, Task, content_hash, open_rows, split_of

_FILES = ("queries_first1000.csv", "all_clean_data.csv", "multi_tool_first100.json", "multi_tool_query_golden.json")


@functools.lru_cache(4)
def descriptions(folder: str) -> dict[str, str]:
    """The description of each tool. Raises `FileNotFoundError`."""
    found = json.loads((Path(folder) / "plugin_des.json").read_text(encoding="utf-8"))
    return {str(name): str(text) for name, text in found.items()}


class MetaToolTasks(ListedTasks):
    """The queries of the folder; by hash of the query each belongs to one split, "all" is all of them."""

    def __init__(self, folder: Path, split: str) -> None:
        self._folder, self._split = folder, split
        known = descriptions(str(folder))
        rows: dict[str, list[str]] = {}
        for path in (folder / name for name in _FILES):
            if path.is_file():
                with open_rows(path) as found:
                    for row in found:
                        query, tools = row.get("Query") or row["query"], row.get("Tool") or row["tool"]
                        rows[str(query).strip()] = [tools] if isinstance(tools, str) else list(tools)
        kept = {q: t for q, t in rows.items() if set(t) <= set(known) and (split == "all" or split_of(q) == split)}
        if not kept:
            raise ValueError(f"{folder} holds no query of split {split!r}")
        super().__init__("metatool", [self._task(i, query, tools) for i, (query, tools) in enumerate(kept.items())])

    @property
    def fingerprint(self) -> str:
        """Hash of the queries and their tools."""
        return content_hash(repr([(task.id, task.gold.answer) for task in self._tasks]))

    def __repr__(self) -> str:
        return f"MetaToolTasks({str(self._folder)!r}, split={self._split!r})"

    def _task(self, index: int, query: str, tools: list[str]) -> Task:
        data: dict[str, Any] = {"tools": tools, "any_order": True}
        family = "one need" if len(tools) == 1 else "several needs"
        return Task(
            id=f"metatool/{content_hash(query)}",
            prompt=query,
            index=index,
            split=self._split,
            family=family,
            data={"metatool": str(self._folder)},
            gold=Gold("; ".join(tools), data=data),
        )


def load(source: str, split: str, difficulty: int | None) -> MetaToolTasks:
    """The tasks of "metatool:FOLDER". Raises `ValueError` that names the sources there are, `FileNotFoundError`."""
    name, found, folder = source.partition(":")
    if name != "metatool" or not found:
        raise ValueError(f"tasks={source!r}: there are None for generated requests, and metatool:FOLDER")
    if split not in (*SPLITS, "all"):
        raise ValueError(f"split {split!r} is not one of {[*SPLITS, 'all']}")
    if difficulty is not None:
        raise ValueError(f"difficulty={difficulty}: the queries of metatool are not chosen by difficulty; leave it out")
    return MetaToolTasks(Path(folder).resolve(), split)

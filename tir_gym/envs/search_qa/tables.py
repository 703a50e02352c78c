"""Tables that stand in passages, written in Markdown."""

import re
from collections.abc import Mapping

Table = dict[str, str]
"""Row -> value."""

_BETWEEN = re.compile(r"(?<!\\)\|")


def tables_in(text: str) -> dict[str, Table]:
    """The columns of the tables in a text, by their headings; the first column of a table has the names of its rows.

    A table is a line of headings, a line of dashes, and lines of cells, all with `|` between cells. A heading or row
    called like an earlier one has its place behind its name: `Year (4)`.
    """
    found: dict[str, Table] = {}
    columns: list[Table] | None = None
    before = ""
    for line in text.splitlines():
        if "|" not in line:
            columns = None
        elif columns is not None:
            name, *values = _cells(line)
            for column, value in zip(columns, values, strict=False):
                column[_free(name, column)] = value
        elif "|" in before and "-" in line and not line.strip("|-: \t"):
            columns = [found.setdefault(_free(heading, found), {}) for heading in _cells(before)[1:]]
        before = line
    return found


def _cells(line: str) -> list[str]:
    inner = line.strip().removeprefix("|")
    if inner.endswith("|") and not inner.endswith("\\|"):
        inner = inner[:-1]
    return [cell.strip().replace("\\|", "|") for cell in _BETWEEN.split(inner)]


def _free(name: str, taken: Mapping[str, object]) -> str:
    return name if name not in taken else f"{name} ({len(taken) + 1})"

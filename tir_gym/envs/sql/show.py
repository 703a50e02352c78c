"""Results as text: aligned columns with names and types, in order, with NULL and duplicates, and what was left out."""

from collections.abc import Sequence
from typing import Any

from tir_gym.envs.sql.results import Table

CELL_CHARS = 200
"""Characters of one value that are shown."""
_TYPES = {int: "INTEGER", float: "REAL", str: "TEXT", dict: "BLOB", bool: "BOOLEAN"}


def as_text(table: Table, *, typed: bool = True) -> str:
    """The table as text. A column is headed by its name and, if `typed`, the type of its values.

    Texts stand in quotes where the column holds other types as well; so does one that is empty, has blanks at its ends,
    or reads NULL.
    """
    if not table.columns:
        return "(no columns)"
    kinds = [_type([row[i] for row in table.rows]) if typed else "" for i in range(len(table.columns))]
    heads = [f"{name} {kind}".rstrip() for name, kind in zip(table.columns, kinds, strict=True)]
    mixed = [len({type(row[i]) for row in table.rows} - {type(None)}) > 1 for i in range(len(table.columns))]
    lines = [heads, *([_cell(cell, mixed[i]) for i, cell in enumerate(row)] for row in table.rows)]
    widths = [min(max(len(line[i]) for line in lines), 40) for i in range(len(heads))]
    numbers = [all(isinstance(row[i], int | float | None) for row in table.rows) for i in range(len(heads))]
    laid = [_line(line, widths, numbers) for line in lines]
    return "\n".join([laid[0], "-+-".join("-" * width for width in widths), *laid[1:], f"({_counted(table)})"])


def _line(cells: Sequence[str], widths: Sequence[int], numbers: Sequence[bool]) -> str:
    laid = (
        cell.rjust(width) if number else cell.ljust(width)
        for cell, width, number in zip(cells, widths, numbers, strict=True)
    )
    return " | ".join(laid).rstrip()


def _type(cells: Sequence[Any]) -> str:
    held = {_TYPES[type(cell)] for cell in cells if cell is not None}
    return "/".join(sorted(held)) or ("NULL" if cells else "")


def _cell(cell: Any, mixed: bool) -> str:
    if cell is None:
        return "NULL"
    if isinstance(cell, dict):
        return _cut(f"x'{cell['hex']}'")
    if isinstance(cell, float):
        return repr(cell)
    if isinstance(cell, str):
        plain = (
            cell.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
            if "\n" in cell or "\r" in cell
            else cell
        )
        quoted = mixed or cell.upper() == "NULL" or cell != cell.strip() or not cell
        return _cut("'" + plain.replace("'", "''") + "'" if quoted else plain)
    return str(cell)


def _cut(text: str) -> str:
    return text if len(text) <= CELL_CHARS else f"{text[:CELL_CHARS]}[... {len(text) - CELL_CHARS} characters]"


def _counted(table: Table) -> str:
    if table.whole:
        return f"{table.count} row{'' if table.count == 1 else 's'}"
    total = f"more than {table.count}" if table.more else f"{table.count}"
    return f"first {len(table.rows)} of {total} rows; the others are left out"

"""What was measured of a checkpoint: the rows of `reprise bench quality` that its card carries."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

COLUMNS = ("control", "generated", "codec", "real")
"""Of the quality table, in its order; what they mean is said there."""

_DIGITS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One row: a mean and its 95 % interval by column, the bar and whether it is met.

    `pieces` is how many pieces the mean of the first column is over.
    """

    measure: str
    columns: Mapping[str, tuple[float, float, float]]
    pieces: int
    bar: str | None = None
    met: bool | None = None


def read_measured(rows: object) -> tuple[Measured, ...]:
    """The card's `measured` tables.

    :raises TypeError: they are no list of rows.
    :raises ValueError: a row has unknown fields, or no column.
    """
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise TypeError("measured must be a list of tables")
    return tuple(_row(dict(row)) for row in rows)


def _row(row: dict[str, Any]) -> Measured:
    columns = {name: _interval(row.pop(name)) for name in COLUMNS if name in row}
    measure, pieces = row.pop("measure", None), row.pop("pieces", None)
    bar, met = row.pop("bar", None), row.pop("met", None)
    if row:
        raise ValueError(f"unknown fields of a measured row: {', '.join(sorted(row))}")
    if not isinstance(measure, str) or type(pieces) is not int or not columns:
        raise ValueError("a measured row has a measure, pieces and at least one column")
    if not isinstance(bar, str | None) or not isinstance(met, bool | None):
        raise TypeError(f"bar and met of {measure!r} must be a text and true or false")
    return Measured(measure=measure, columns=columns, pieces=pieces, bar=bar, met=met)


def _interval(value: object) -> tuple[float, float, float]:
    if not isinstance(value, list) or len(value) != 3:
        raise TypeError("a column is a mean and the two ends of its interval")
    mean, low, high = (float(number) for number in value)
    return mean, low, high


def groups_of(role: str, parts: Sequence[str]) -> tuple[str, ...]:
    """The quality table's groups that tell of a bundled checkpoint."""
    if role == "separator":
        return ("separation",)
    suffixes = (" codec",) if role == "codec" else ("", ", bars redone")
    return tuple(f"{part}{suffix}" for part in parts for suffix in suffixes)


def tables_of(quality: Mapping[str, Any], role: str, parts: Sequence[str]) -> str:
    """Rows of a `reprise bench quality --json` file as a card's `measured` tables (TOML)."""
    groups = groups_of(role, parts)
    tables = []
    for row in quality.get("rendered", []):
        if row["group"] not in groups or not row["columns"]:
            continue
        redone = "bars redone: " if row["group"].endswith("redone") else ""
        lines = ["[[measured]]", f"measure = {_quoted(redone + row['measure'])}"]
        lines.append(f"pieces = {max(c['pieces'] for c in row['columns'].values())}")
        for name in COLUMNS:
            if name in row["columns"]:
                column = row["columns"][name]
                numbers = (round(float(column[key]), _DIGITS) for key in ("mean", "low", "high"))
                lines.append(f"{name} = [{', '.join(map(str, numbers))}]")
        if row["bar"]:
            lines.append(f"bar = {_quoted(row['bar'])}")
        if row["met"] is not None:
            lines.append(f"met = {str(row['met']).lower()}")
        tables.append("\n".join(lines) + "\n")
    return "\n".join(tables)


def _quoted(text: str) -> str:
    # A JSON string is a TOML basic string.
    return json.dumps(text, ensure_ascii=False)

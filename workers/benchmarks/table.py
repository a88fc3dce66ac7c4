"""Rows as lines of text, and as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from workers.benchmarks.rows import COLUMNS, Row
from workers.benchmarks.statistics import Estimate

VERDICTS = {True: "met", False: "NOT MET", None: ""}
_TITLE, _COLUMN, _BAR = 58, 20, 25


def shown(estimate: Estimate | None) -> str:
    """A mean with its interval."""
    if estimate is None:
        return "-"
    if estimate.low == estimate.high:
        return f"{estimate.mean:.2f}"
    return f"{estimate.mean:.2f} ({estimate.low:.2f} {estimate.high:.2f})"


def text(rows: Sequence[Row]) -> str:
    """The table; intervals are 95 %."""
    lines = [f"{'':{_TITLE}}" + "".join(f"{name:>{_COLUMN}}" for name in COLUMNS) + "  bar"]
    group = ""
    for row in rows:
        if row.group != group:
            group = row.group
            most = max(
                (e.pieces for r in rows if r.group == group for e in r.columns.values()), default=0
            )
            lines.append(f"{group}" + (f" ({most} pieces)" if most > 1 else ""))
        columns = "".join(f"{shown(row.columns.get(name)):>{_COLUMN}}" for name in COLUMNS)
        verdict = f"{row.bar:{_BAR}} {VERDICTS[row.met]}" + (f" ({row.note})" if row.note else "")
        lines.append(f"  {row.title:{_TITLE - 2}}{columns}  {verdict}".rstrip())
    return "\n".join(lines)


def report(rows: Sequence[Row]) -> list[Mapping[str, Any]]:
    """The same as JSON types."""
    return [
        {
            "group": row.group,
            "measure": row.title,
            "bar": row.bar or None,
            "met": row.met,
            "note": row.note or None,
            "columns": {name: asdict(estimate) for name, estimate in row.columns.items()},
        }
        for row in rows
    ]

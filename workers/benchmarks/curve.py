"""What training logs say: every figure by step and by hours of CPU.

    reprise bench curve STATE…          folders of training runs, or their .jsonl logs

A row for each doubling of the steps: what the last doubling brought is what the next one can be
held against. Figures are means over the entries since half way to the row's step; figures that a
log states seldom (of validation) are the last ones stated.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

_DOUBLINGS = 6
_SECONDS = ("cpu_seconds", "seconds", "wall_seconds")
_SELDOM = 4

Entry = Mapping[str, float]


def _flat(data: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, float]]:
    for name, value in data.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name} ")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{prefix}{name}", float(value)


def read_entries(file: Path) -> list[Entry]:
    """Entries of a log of JSON lines that state a step, oldest first.

    A line that is cut short (of a killed run) is left out. What was trained twice, because a run
    was killed and resumed, counts as it was the last time.
    """
    entries: list[Entry] = []
    for line in file.read_text().splitlines():
        try:
            told = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(told, Mapping) and "step" in told:
            flat = dict(_flat(told))
            while entries and entries[-1]["step"] > flat["step"]:
                entries.pop()
            entries[-2:] = [
                entry
                for entry in entries[-2:]
                if entry["step"] != flat["step"] or entry.keys() != flat.keys()
            ]
            entries.append(flat)
    return entries


def doublings(entries: Sequence[Entry]) -> list[Entry]:
    """Figures at the last step, at half of it, a quarter, …; oldest first."""
    last = max(entry["step"] for entry in entries)
    names = list(dict.fromkeys(name for entry in entries for name in entry if name != "step"))
    rows: list[Entry] = []
    for halvings in range(_DOUBLINGS, -1, -1):
        step = last / 2**halvings
        row = {"step": round(step)}
        for name in names:
            stated = [(e["step"], e[name]) for e in entries if name in e and e["step"] <= step]
            recent = [value for at, value in stated if at > step / 2]
            if name in _SECONDS or len(recent) < _SELDOM:
                recent = [value for _, value in stated[-1:]]
            if recent:
                row[name] = float(np.mean(recent))
        if len(row) > 1:
            rows.append(row)
    return rows


def text(rows: Sequence[Entry]) -> str:
    """Rows as columns of text; seconds as hours."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    heads = [f"{name.replace('_seconds', '')} h" if name in _SECONDS else name for name in names]
    lines = ["  ".join(f"{head:>10}" for head in heads)]
    for row in rows:
        cells = []
        for name, head in zip(names, heads, strict=True):
            value = row.get(name)
            shown = "-" if value is None else f"{value:.4f}"
            if value is not None and name == "step":
                shown = str(int(value))
            elif value is not None and name in _SECONDS:
                shown = f"{value / 3600:.3f}"
            cells.append(f"{shown:>{max(10, len(head))}}")
        lines.append("  ".join(cells))
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Print a table for each log that is found."""
    parser = argparse.ArgumentParser(
        prog="reprise bench curve",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("logs", nargs="+", type=Path, help="folders of runs, or .jsonl files")
    options = parser.parse_args(argv)
    found = False
    for given in options.logs:
        files = sorted(given.glob("*.jsonl")) if given.is_dir() else [given]
        for file in (file for file in files if file.is_file()):
            entries = read_entries(file)
            if entries:
                found = True
                print(f"{file}\n{text(doublings(entries))}\n")
    if not found:
        print("reprise bench curve: no log with steps was found", file=sys.stderr)
    return 0 if found else 1


if __name__ == "__main__":
    raise SystemExit(main())

"""The training log: one JSON object a line, beside the state."""

import json
from pathlib import Path
from typing import Any

NAME = "log.jsonl"


class Log:
    """Appends entries that each hold their "step".

    Args:
        folder: of the run's state; made when it is missing.
        step: the step that the run resumes from. Later entries of a run that was killed are
            dropped: their steps will be made, and written, again.
    """

    def __init__(self, folder: Path, step: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / NAME
        if self._path.exists():
            kept = [entry for entry in read_log(folder) if entry["step"] <= step]
            draft = self._path.with_suffix(".draft")
            draft.write_text("".join(json.dumps(entry) + "\n" for entry in kept))
            draft.replace(self._path)

    def write(self, entry: dict[str, Any]) -> None:
        """Append one entry."""
        with self._path.open("a") as file:
            file.write(json.dumps(entry) + "\n")


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The entries of a folder's log, oldest first; a last line cut short by a crash is left out."""
    path = folder / NAME
    entries = []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            entries.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return entries


def export_log(state: Path, folder: Path, most: int = 200) -> None:
    """Copy a log thinned to about `most` entries; validations are all kept."""
    entries = read_log(state)
    losses = [entry for entry in entries if "loss" in entry]
    stride = max(1, -(-len(losses) // most))
    chosen = {id(entry) for entry in losses[::-1][::stride]}
    kept = [entry for entry in entries if "loss" not in entry or id(entry) in chosen]
    if kept:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "training.jsonl").write_text("".join(json.dumps(e) + "\n" for e in kept))

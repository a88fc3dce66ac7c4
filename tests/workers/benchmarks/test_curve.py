"""Training logs as a table by doublings of the steps."""

import json
from pathlib import Path

import pytest

from workers.benchmarks.curve import doublings, main, read_entries


def write(path: Path, entries: list[dict[str, object]], tail: str = "") -> Path:
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries) + tail)
    return path


def test_a_row_for_each_doubling_with_hours_and_the_last_validation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entries: list[dict[str, object]] = [
        {"step": step, "cpu_seconds": 3.6 * step, "loss": 8.0 / step}
        for step in range(10, 1010, 10)
    ]
    entries.append({"step": 500, "validation": {"true": 2.5}})
    entries.sort(key=lambda entry: entry["step"])
    write(tmp_path / "log.jsonl", entries)
    rows = doublings(read_entries(tmp_path / "log.jsonl"))
    assert [row["step"] for row in rows][-3:] == [250, 500, 1000]
    assert rows[-1]["loss"] < rows[-2]["loss"] < rows[-3]["loss"]
    assert rows[-1]["validation true"] == 2.5
    assert "validation true" not in rows[-3]
    assert main([str(tmp_path)]) == 0
    last = capsys.readouterr().out.strip().splitlines()[-1].split()
    assert last[:2] == ["1000", "1.000"]


def test_a_line_cut_short_and_steps_trained_twice_do_not_count(tmp_path: Path) -> None:
    file = write(
        tmp_path / "log.jsonl",
        [{"step": 1, "loss": 4.0}, {"step": 2, "loss": 9.0}, {"step": 3, "loss": 9.0},
         {"step": 2, "loss": 2.0}],
        tail='{"step": 3, "lo',
    )  # fmt: skip
    kept = read_entries(file)
    assert kept[-1]["loss"] == 2.0
    assert not any(entry["step"] == 3 for entry in kept)


def test_a_folder_without_a_log_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 1
    assert "no log" in capsys.readouterr().err

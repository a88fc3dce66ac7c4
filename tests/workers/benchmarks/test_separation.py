"""The bench of separation, on seconds of audio; its figures are nobody's business here."""

from collections.abc import Iterator

import pytest
import torch

from workers.benchmarks import separation
from workers.benchmarks.separation import Setting, main, measure, memory, text


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_both_sides_are_measured_and_agree() -> None:
    row = measure(Setting("bundled", "cpu", 1), seconds=3.0, turns=2)
    assert row["apart"] <= separation.AGREE
    assert row["least_ratio"] <= row["ratio"] <= row["most_ratio"]
    assert row["demucs"] > 0
    shown = text({"speed": [row], "memory": [], "cuda": False})
    assert "1 threads, float32" in shown
    assert "there is no GPU" in shown


def test_memory_is_told_without_the_track_and_its_stems() -> None:
    row = memory(Setting("bundled", "cpu", 1), seconds=2.0, who="reprise")
    assert row["stems"] == pytest.approx(4 * row["track"])
    shown = text({"speed": [], "memory": [row], "cuda": "a GPU"})
    assert f"{row['peak']:.0f}" in shown
    assert "no GPU" not in shown
    assert separation.held(row)
    assert not separation.held({**row, "beyond": separation.CEILING + 1})
    assert separation.held({**row, "who": "demucs", "beyond": 1e6})


@pytest.mark.parametrize(
    ("ratio", "apart", "verdict"),
    [(1.2, 1e-6, "met"), (1.1, 1e-6, "NOT MET"), (2.0, 1e-3, "NOT MET")],
)
def test_a_bar_asks_for_speed_and_agreement(ratio: float, apart: float, verdict: str) -> None:
    row = {
        "model": "bundled", "device": "cpu", "threads": 2, "dtype": "float32", "demucs": 1.0,
        "reprise": ratio, "ratio": ratio, "least_ratio": 1.0, "most_ratio": 2.0,
        "processor_ratio": 1.0, "apart": apart,
    }  # fmt: skip
    (_, line, *_) = text({"speed": [row], "memory": [], "cuda": False}).splitlines()
    assert line.endswith(f">= 1.15 {verdict}")


def test_options_that_measure_nothing_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for wrong in (["--turns", "0"], ["--threads", "0"], ["--models", "spleeter"]):
        with pytest.raises(SystemExit) as ended:
            main(wrong)
        assert ended.value.code == 2
    assert "reprise bench separation" in capsys.readouterr().err

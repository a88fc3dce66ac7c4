"""`reprise bench watermark`: its intervals, its judgement, and a small run from end to end."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from service.watermark.detection import AS_IT_IS, Detection
from service.watermark.layout import METHOD
from service.watermark.measured import measured
from tests.watermark_music import RATE, music
from workers.benchmarks import additive, watermark
from workers.benchmarks.attacks import ATTACKS, MEAN_OF_TWO, TWICE
from workers.benchmarks.watermark import Rate, main

KEY, PAYLOAD = bytes(range(32)), 0x5EED


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"),
    # Clopper and Pearson, from R's binom.test.
    [(0, 10, 0.0, 0.3085), (10, 10, 0.6915, 1.0), (7, 10, 0.3475, 0.9333)],
    ids=["none", "all", "seven"],
)
def test_intervals_are_exact(hits: int, trials: int, low: float, high: float) -> None:
    rate = Rate(hits, trials)
    assert (rate.low, rate.high) == pytest.approx((low, high), abs=1e-4)


def _detection(payload: int) -> Detection:
    return Detection(payload, 20.0, 1e-9, 0.1, 0.0, AS_IT_IS)


@pytest.mark.parametrize(
    ("attack", "payloads", "found", "wrong"),
    [
        ("none", [1], True, 0),
        ("none", [], False, 0),
        ("none", [3], False, 1),
        ("none", [2], False, 1),
        (TWICE, [2], False, 0),
        (TWICE, [2, 1], True, 0),
        (MEAN_OF_TWO, [2], True, 0),
        (MEAN_OF_TWO, [3], False, 1),
    ],
)
def test_a_find_is_right_only_with_the_payload_that_was_written(
    attack: str, payloads: list[int], found: bool, wrong: int
) -> None:
    told = watermark._judged(attack, [_detection(payload) for payload in payloads], 1, 2)
    assert (told["found"], told["wrong"]) == (found, wrong)


def test_the_additive_method_is_found_where_the_speed_is_exact() -> None:
    before = music(9.0)
    marked = additive.embed(before, RATE, PAYLOAD, KEY)
    assert [one.payload for one in additive.detect_all(marked, RATE, KEY)] == [PAYLOAD]
    assert additive.detect_all(before, RATE, KEY) == []
    assert additive.detect_all(marked, RATE, KEY[::-1]) == []


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus" / "test" / "000001"
    folder.mkdir(parents=True)
    (folder / "piece.json").write_text(json.dumps({"seed": 1}))
    sound = music(11.0)
    for name in ("drums", "bass", "other", "vocals"):
        soundfile.write(folder / f"{name}.flac", 0.25 * sound.T, RATE)
    return tmp_path / "corpus"


@pytest.mark.parametrize("method", ["levels", "additive"])
def test_a_small_run_prints_its_table(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch, method: str,
) -> None:  # fmt: skip
    few = [attack for attack in ATTACKS if attack.name in {"none", "speed+1", TWICE}]
    monkeypatch.setattr(watermark, "ATTACKS", few)
    monkeypatch.setattr(watermark, "KEYS", 2)
    file = tmp_path / "told.json"
    status = main(
        [
            *("--corpus", str(corpus), "--kept", str(tmp_path / "kept"), "--json", str(file)),
            *("--pieces", "1", "--unmarked", "1", "--jobs", "1", "--method", method),
        ]
    )
    told = json.loads(file.read_text())
    printed = capsys.readouterr().out
    assert status == 0
    assert all(attack.words in printed for attack in few)
    assert told["attacks"]["none"]["tpr"] == 1.0
    assert told["attacks"]["speed+1"]["tpr"] == (1.0 if method == "levels" else 0.0)
    assert 15 < told["measures"]["snr_db"]["mean"] < 40
    assert told["measures"]["nmr_db"]["mean"] < 0
    assert told["false_positives"] | {"high": 1} == {
        "bound": 1e-6, "clips": 2, "found": 0, "high": 1,
    }  # fmt: skip
    assert all(tail["seen"] <= tail["bound"] for tail in told["tails"])
    sealed = watermark.sealed(told)
    every = sum(attack.asked for attack in few)
    assert (sealed.pieces, len(sealed.attacks), sealed.unmarked) == (1, every, 2)
    assert sealed.found == (every if method == "levels" else sealed.found) <= every
    assert sealed.found_low == told["always"]["low"] < 1


def test_what_is_told_with_a_find_was_measured_of_this_method() -> None:
    told = measured()
    assert told is not None
    assert told.method == METHOD
    assert told.attacks == [attack.words for attack in ATTACKS if attack.asked]
    assert 0 < told.found_low < told.true_positive_rate <= 1


def test_the_rates_of_another_method_are_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.watermark.measured.METHOD", "org.reprise.watermark.2")
    measured.cache_clear()
    assert measured() is None
    measured.cache_clear()


def test_the_additive_method_s_rates_are_not_sealed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--seal", "--method", "additive"])
    assert "levels alone" in capsys.readouterr().err


def test_a_wrong_option_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--pieces", "0"])
    assert "--pieces is at least 1" in capsys.readouterr().err


def test_a_master_leaves_headroom(corpus: Path) -> None:
    (song,) = watermark.listed(corpus, "test")
    assert float(np.abs(watermark.master(song)).max()) <= watermark.PEAK + 1e-6

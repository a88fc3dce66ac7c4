"""The corpus on disk: whole pieces, splits that share nothing, a run that outlives a kill."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from workers.training.data.composition import STEMS
from workers.training.data.corpus import (
    fingerprint,
    list_pieces,
    load_piece,
    main,
    plan,
    write_corpus,
)
from workers.training.data.remix import Remixer
from workers.training.data.soundfont import find_fonts

pytestmark = pytest.mark.renderer

PIECES, SECONDS, SEED = 8, 2.0, 99


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("corpus")
    write_corpus(out, PIECES, SEED, find_fonts()[:1], SECONDS)
    return out


def _samples(corpus: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(corpus)): soundfile.read(path, dtype="int16")[0].tobytes()
        for path in sorted(corpus.glob("*/*/*.flac"))
    }


def test_a_corpus_says_what_it_is_made_of(corpus: Path) -> None:
    manifest = json.loads((corpus / "manifest.json").read_text())
    assert manifest["seed"] == SEED
    assert sum(manifest["pieces"].values()) == PIECES
    assert [font["licence"] for font in manifest["fonts"]] == ["MIT"]
    assert all(len(font["sha256"]) == 64 for font in manifest["fonts"])
    for split, count in manifest["pieces"].items():
        assert len(list_pieces(corpus, split)) == count > 0


def test_no_composition_is_in_two_splits(corpus: Path) -> None:
    seeds = [
        load_piece(folder).meta["seed"]
        for split in ("train", "valid", "test")
        for folder in list_pieces(corpus, split)
    ]
    assert len(seeds) == len(set(seeds)) == PIECES


@pytest.mark.parametrize("pieces", [8, 100, 176, 588, 5000])
def test_a_plan_gives_every_seed_to_one_split(pieces: int, tmp_path: Path) -> None:
    orders = plan(tmp_path, pieces, 1, [], SECONDS)
    assert len({order.seed for order in orders}) == pieces
    counts = {s: sum(o.split == s for o in orders) for s in ("train", "valid", "test")}
    assert min(counts.values()) > 0
    if pieces >= 588:
        assert counts["test"] == 64


def test_a_larger_corpus_begins_with_the_smaller_one(tmp_path: Path) -> None:
    smaller, larger = plan(tmp_path, 588, 1, [], SECONDS), plan(tmp_path, 5000, 1, [], SECONDS)
    assert larger[:588] == smaller


def test_a_piece_reads_back_with_its_truth(corpus: Path) -> None:
    piece = load_piece(list_pieces(corpus, "train")[0])
    stems = [piece.stem(name) for name in STEMS]
    assert all(stem.shape == (2, round(SECONDS * 44100)) for stem in stems)
    assert np.allclose(piece.mixture(), np.sum(stems, axis=0), atol=1e-6)
    mono = piece.stem("drums", sample_rate=32000, mono=True)
    assert mono.shape == (round(SECONDS * 32000),)
    assert mono.dtype == np.float32
    assert set(piece.meta["notes"]) == {"drums", "bass"}
    assert piece.meta["beats"]
    assert piece.meta["chords"]
    with pytest.raises(ValueError, match="unknown stem 'guitar'"):
        piece.stem("guitar")


def test_a_killed_run_goes_on_to_the_same_corpus(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "workers.training.data", "--out", str(out)]
    command += ["--pieces", str(PIECES), "--seed", str(SEED), "--duration", str(SECONDS)]
    command += ["--fonts", str(find_fonts()[0])]
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 120
    while len(list(out.glob("*/*/piece.json"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    # What a kill in the middle of a piece leaves: a draft without its description.
    (out / ".train-000007.1").mkdir()
    (out / ".train-000007.1" / "drums.flac").write_bytes(b"half")
    kept = {path: path.stat().st_mtime_ns for path in out.glob("*/*/piece.json")}

    main(command[3:])

    assert _samples(out) == _samples(corpus)
    assert not list(out.glob(".*"))
    assert all(path.stat().st_mtime_ns == at for path, at in kept.items())


def test_several_processes_write_the_same_corpus(corpus: Path, tmp_path: Path) -> None:
    write_corpus(tmp_path, PIECES, SEED, find_fonts()[:1], SECONDS, jobs=2)
    assert _samples(tmp_path) == _samples(corpus)
    assert fingerprint(tmp_path, "train") == fingerprint(corpus, "train")


def test_a_font_of_unknown_licence_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"borrowed\.sf2: its licence is not known"):
        write_corpus(tmp_path / "out", 8, 1, [tmp_path / "borrowed.sf2"], SECONDS)
    assert not (tmp_path / "out").exists()


def test_too_few_pieces_for_three_splits_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 8 pieces"):
        write_corpus(tmp_path / "out", 7, 1, find_fonts()[:1], SECONDS)


def test_a_batch_depends_on_seed_and_step_alone(corpus: Path) -> None:
    first, second = (Remixer(corpus, "train", STEMS, seed=5) for _ in range(2))
    second.batch(0, 2, 0.5)
    assert np.array_equal(first.batch(7, 2, 0.5), second.batch(7, 2, 0.5))
    assert not np.array_equal(first.batch(7, 2, 0.5), first.batch(8, 2, 0.5))
    assert not np.array_equal(
        first.batch(7, 2, 0.5), Remixer(corpus, "train", STEMS, 6).batch(7, 2, 0.5)
    )
    assert first.batch(0, 3, 0.5).shape == (3, 4, 2, 22050)


def test_batches_come_from_their_split_alone(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    with pytest.raises(ValueError, match="no finished piece in 'train'"):
        Remixer(tmp_path, "train", STEMS, 1)

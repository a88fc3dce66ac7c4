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

from workers.training.data.composition import HELD_OUT_STYLE, STEMS, STYLES
from workers.training.data.corpus import (
    SPLITS,
    fingerprint,
    list_pieces,
    load_piece,
    main,
    plan,
    write_corpus,
)
from workers.training.data.remix import Remixer
from workers.training.data.soundfont import HELD_OUT_FONT, find_fonts

pytestmark = pytest.mark.renderer

PIECES, SECONDS, SEED = 8, 2.0, 99
USUAL, UNHEARD = Path("FluidR3_GM.sf2"), Path(HELD_OUT_FONT)


def _one_font() -> list[Path]:
    return [font for font in find_fonts() if font.name != HELD_OUT_FONT][:1]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("corpus")
    write_corpus(out, PIECES, SEED, _one_font(), SECONDS)
    return out


def _samples(corpus: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(corpus)): soundfile.read(path, dtype="int16")[0].tobytes()
        for split in SPLITS
        for path in sorted(corpus.glob(f"{split}/*/*.flac"))
    }


def test_a_corpus_says_what_it_is_made_of(corpus: Path) -> None:
    manifest = json.loads((corpus / "manifest.json").read_text())
    assert manifest["seed"] == SEED
    # One font alone leaves no other for "test-font".
    assert manifest["pieces"] == {
        "train": 3,
        "valid": 1,
        "test": 2,
        "test-style": 1,
        "test-font": 0,
    }
    assert manifest["held_out"] == {"style": HELD_OUT_STYLE, "font": None}
    assert manifest["hours"] == pytest.approx(7 * SECONDS / 3600, abs=0.001)
    assert [font["licence"] for font in manifest["fonts"]] == ["MIT"]
    assert all(len(font["sha256"]) == 64 for font in manifest["fonts"])
    for split, count in manifest["pieces"].items():
        assert len(list_pieces(corpus, split)) == count


def test_no_composition_is_in_two_splits(corpus: Path) -> None:
    seeds = [
        load_piece(folder).meta["seed"] for split in SPLITS for folder in list_pieces(corpus, split)
    ]
    assert len(seeds) == len(set(seeds)) == PIECES - 1


@pytest.mark.parametrize("pieces", [8, 100, 243, 244, 588, 5000])
def test_a_plan_gives_every_seed_to_one_split(pieces: int, tmp_path: Path) -> None:
    orders = plan(tmp_path, pieces, 1, [USUAL, UNHEARD], SECONDS)
    assert len({order.seed for order in orders}) == len(orders) == pieces
    counts = {split: sum(o.split == split for o in orders) for split in SPLITS}
    assert min(counts.values()) > 0
    if pieces >= 244:
        held = {"valid": 24, "test": 72, "test-style": 24, "test-font": 24}
        assert counts == {"train": pieces - 144, **held}
        assert {o.split for o in orders[:100]} == {"train"}
        assert {o.split for o in orders[100:244]} == set(held)


@pytest.mark.parametrize("fonts", [[USUAL], [USUAL, UNHEARD]])
def test_what_is_held_out_is_in_its_own_split_alone(fonts: list[Path], tmp_path: Path) -> None:
    orders = plan(tmp_path, 300, 1, fonts, SECONDS)
    for order in orders:
        assert (order.style == HELD_OUT_STYLE) == (order.split == "test-style")
        assert order.fonts == ((UNHEARD,) if order.split == "test-font" else (USUAL,))
    usual = [o.style for o in orders if o.split in ("train", "valid", "test")]
    counts = {style: usual.count(style) for style in STYLES}
    assert max(counts.values()) - min(counts.values()) <= 3
    assert sum(o.split == "test-font" for o in orders) == (24 if UNHEARD in fonts else 0)
    # A font that is missing moves no other piece.
    both = plan(tmp_path, 300, 1, [USUAL, UNHEARD], SECONDS)
    assert [o for o in both if o.split != "test-font"] == [
        o for o in orders if o.split != "test-font"
    ]


def test_a_larger_corpus_begins_with_the_smaller_one(tmp_path: Path) -> None:
    smaller, larger = (plan(tmp_path, n, 1, [USUAL, UNHEARD], SECONDS) for n in (244, 5000))
    assert larger[:244] == smaller
    assert {order.split for order in larger[244:]} == {"train"}


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
    assert piece.meta["meter"] in ("4/4", "3/4", "6/8")
    assert set(piece.meta["controls"]) == {"drums", "bass"}
    for control in piece.meta["controls"].values():
        assert set(control) == {"density", "fills", "swing"}
    with pytest.raises(ValueError, match="unknown stem 'guitar'"):
        piece.stem("guitar")


def test_a_killed_run_goes_on_to_the_same_corpus(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "workers.training.data", "--out", str(out)]
    command += ["--pieces", str(PIECES), "--seed", str(SEED), "--duration", str(SECONDS)]
    command += ["--fonts", str(_one_font()[0])]
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
    write_corpus(tmp_path, PIECES, SEED, _one_font(), SECONDS, jobs=2)
    assert _samples(tmp_path) == _samples(corpus)
    assert fingerprint(tmp_path, "train") == fingerprint(corpus, "train")


def test_a_font_of_unknown_licence_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"borrowed\.sf2: its licence is not known"):
        write_corpus(tmp_path / "out", 8, 1, [tmp_path / "borrowed.sf2"], SECONDS)
    assert not (tmp_path / "out").exists()


def test_the_held_out_font_alone_is_no_corpus(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="held out for testing"):
        write_corpus(tmp_path / "out", 8, 1, [UNHEARD], SECONDS)


def test_the_held_out_font_plays_its_split(tmp_path: Path) -> None:
    fonts = find_fonts()
    if HELD_OUT_FONT not in {font.name for font in fonts}:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{HELD_OUT_FONT} is absent; CI installs csound-soundfont")
        pytest.skip("needs csound-soundfont")
    write_corpus(tmp_path, PIECES, SEED, fonts, 1.0)
    for split in SPLITS:
        played = [load_piece(folder).meta for folder in list_pieces(tmp_path, split)]
        assert played
        assert all((m["font"] == HELD_OUT_FONT) == (split == "test-font") for m in played)
        assert all((m["style"] == HELD_OUT_STYLE) == (split == "test-style") for m in played)


@pytest.mark.parametrize(
    ("pieces", "seed", "seconds", "message"),
    [
        (PIECES, SEED + 1, SECONDS, "another seed"),
        (PIECES, SEED, 3.0, "another seconds_a_piece"),
        (PIECES + 8, SEED, SECONDS, "fewer than 244 pieces cannot change"),
    ],
)
def test_a_folder_with_another_corpus_is_left_alone(
    corpus: Path, pieces: int, seed: int, seconds: float, message: str
) -> None:
    before = (corpus / "manifest.json").read_bytes(), _samples(corpus)
    with pytest.raises(ValueError, match=message):
        write_corpus(corpus, pieces, seed, _one_font(), seconds)
    assert ((corpus / "manifest.json").read_bytes(), _samples(corpus)) == before


def test_a_corpus_is_never_made_smaller(tmp_path: Path) -> None:
    larger = {"train": 200, "valid": 24, "test": 72, "test-style": 24, "test-font": 0}
    write_corpus(tmp_path, PIECES, SEED, _one_font(), 1.0)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps({**manifest, "pieces": larger}))
    with pytest.raises(ValueError, match="320 pieces, more than asked for"):
        write_corpus(tmp_path, 244, SEED, _one_font(), 1.0)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_disk_that_takes_no_more_stops_the_run_and_leaves_whole_pieces(
    corpus: Path, tmp_path: Path, jobs: int
) -> None:
    """The system refuses files above a size, as a full disk refuses all; the run then goes on."""
    out = tmp_path / "full"
    command = ["--out", str(out), "--pieces", str(PIECES), "--seed", str(SEED)]
    command += ["--duration", str(SECONDS), "--jobs", str(jobs), "--fonts", str(_one_font()[0])]
    sizes = sorted(path.stat().st_size for path in corpus.glob("*/*/*.flac"))
    limited = (
        "import resource, sys; "
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({sizes[-3]}, resource.RLIM_INFINITY)); "
        "from workers.training.data.corpus import main; main(sys.argv[1:])"
    )
    run = subprocess.run(
        [sys.executable, "-c", limited, *command], capture_output=True, text=True, check=False
    )
    assert run.returncode == 1
    assert "the same command goes on from there" in run.stderr
    assert "File too large" in run.stderr
    assert "Traceback" not in run.stderr
    assert not list(out.glob(".*"))
    written = _samples(out)
    assert len(written) % len(STEMS) == 0
    assert written.items() < _samples(corpus).items()

    main(command)

    assert _samples(out) == _samples(corpus)


def test_too_few_pieces_for_all_splits_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 8 pieces"):
        write_corpus(tmp_path / "out", 7, 1, _one_font(), SECONDS)


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

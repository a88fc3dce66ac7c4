"""Examples of a corpus: what is cut, cached, and left out by name."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import torch

from tests.generator_windows import examples
from workers.regeneration.conditioning import (
    ENERGY_ROWS,
    frame_energies,
)
from workers.training.data.corpus import load_piece
from workers.training.generator.examples import (
    CodesOfAnotherCodec,
    Example,
    NoExamples,
    gather,
    prepare,
)
from workers.training.generator.separated import Separations
from workers.training.separator import load_exported, separate


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """One piece of a corpus on disk, its band powers in the cache, its codes beside it."""
    add_piece(tmp_path, "000001")
    return tmp_path


def add_piece(place: Path, name: str, cached: bool = True) -> Path:
    folder = place / "corpus" / "train" / name
    folder.mkdir(parents=True)
    (folder / "piece.json").write_text('{"style": "rock"}')
    made = examples(1)[0]
    if cached:
        powers = place / "cache" / "powers" / "train"
        powers.mkdir(parents=True, exist_ok=True)
        np.save(powers / f"{name}.npy", made.log_powers[:, :, :80])
    codes = place / "codes" / "train"
    codes.mkdir(parents=True, exist_ok=True)
    np.savez(codes / f"{name}.npz", codes=made.codes, codec=np.array("abc"))
    return folder


def stems(folder: Path, **seconds: float) -> None:
    """Noise for every stem, 1.6 s of it unless said otherwise."""
    rng = np.random.default_rng(1)
    for stem in ("drums", "bass", "other", "vocals"):
        samples = rng.normal(0, 0.1, (round(seconds.get(stem, 1.6) * 44_100), 2))
        soundfile.write(folder / f"{stem}.flac", samples, 44_100)


def gathered(place: Path, digest: str = "abc", split: str = "train") -> list[Example]:
    return gather(place / "corpus", split, place / "codes", digest, place / "cache", part="drums")


def test_codes_and_powers_of_a_piece_are_cut_to_one_length(corpus: Path) -> None:
    found = gathered(corpus)
    assert [example.name for example in found] == ["000001"]
    assert found[0].frames == 80
    assert found[0].powers().shape == (4, ENERGY_ROWS, 80)


def test_codes_of_another_codec_are_refused(corpus: Path) -> None:
    with pytest.raises(CodesOfAnotherCodec, match="abc"):
        gathered(corpus, digest="other")


def test_a_split_without_codes_is_refused(corpus: Path) -> None:
    with pytest.raises(NoExamples):
        gathered(corpus, split="valid")


def without_codes(place: Path) -> None:
    (place / "codes" / "train" / "000002.npz").unlink()


def half_of_the_codes(place: Path) -> None:
    path = place / "codes" / "train" / "000002.npz"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def codes_that_are_no_codes(place: Path) -> None:
    path = place / "codes" / "train" / "000002.npz"
    np.savez(path, codes=np.full((2, 90), 0.5), codec=np.array("abc"))


def silent_drums(place: Path) -> None:
    path = place / "cache" / "powers" / "train" / "000002.npy"
    powers = np.load(path)
    powers[0] = -27.6
    np.save(path, powers)


def stems_of_two_lengths(place: Path) -> None:
    (place / "cache" / "powers" / "train" / "000002.npy").unlink()
    stems(place / "corpus" / "train" / "000002", bass=1.2)


def a_stem_that_is_noise_on_disk(place: Path) -> None:
    (place / "cache" / "powers" / "train" / "000002.npy").unlink()
    folder = place / "corpus" / "train" / "000002"
    stems(folder)
    (folder / "vocals.flac").write_bytes(b"fLaC" + bytes(range(256)))


def no_stems(place: Path) -> None:
    (place / "cache" / "powers" / "train" / "000002.npy").unlink()


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (without_codes, "no codes"),
        (half_of_the_codes, "codes cannot be read"),
        (codes_that_are_no_codes, "codes are float64"),
        (silent_drums, "drums are silent"),
        (stems_of_two_lengths, "different length"),
        (a_stem_that_is_noise_on_disk, "stems cannot be read"),
        (no_stems, "stems cannot be read"),
    ],
)
def test_a_piece_that_cannot_be_used_is_named_and_left_out(
    corpus: Path, caplog: pytest.LogCaptureFixture, harm: Callable[[Path], None], said: str
) -> None:
    add_piece(corpus, "000002")
    assert [example.name for example in gathered(corpus)] == ["000001", "000002"]
    harm(corpus)
    with caplog.at_level("WARNING"):
        assert [example.name for example in gathered(corpus)] == ["000001"]
    assert any("train/000002" in m and said in m for m in caplog.messages)


def test_a_broken_cache_is_computed_anew(corpus: Path) -> None:
    stems(add_piece(corpus, "000002", cached=False))
    path = corpus / "cache" / "powers" / "train" / "000002.npy"
    first = gathered(corpus)[1].log_powers.copy()
    path.write_bytes(path.read_bytes()[:400])
    assert np.array_equal(gathered(corpus)[1].log_powers, first)


SEPARATOR = Path(__file__).parents[3] / "checkpoints" / "reprise-separator"


def test_what_the_separator_leaves_is_measured_once_and_kept_by_its_weights(corpus: Path) -> None:
    stems(add_piece(corpus, "000002", cached=False))
    (corpus / "corpus" / "train" / "000001").rename(corpus / "corpus" / "train" / "000009")
    separations = Separations(SEPARATOR, pieces=1)
    found = gather(
        corpus / "corpus", "train", corpus / "codes", "abc", corpus / "cache", part="drums",
        separations=separations,
    )  # fmt: skip
    assert [e.name for e in found] == ["000002"]
    assert found[0].separated is not None
    assert found[0].separated.shape == (ENERGY_ROWS, 80)
    kept = separations.path(corpus / "cache", "train", "000002")
    assert separations.digest[:16] in str(kept)
    changed = kept.stat().st_mtime_ns
    prepare(corpus / "corpus", "train", corpus / "cache", separations)
    assert kept.stat().st_mtime_ns == changed
    piece = load_piece(corpus / "corpus" / "train" / "000002")
    drums, bass, other, vocals = separate(load_exported(SEPARATOR), piece.mixture())
    for row, played in enumerate((bass + other + vocals, drums + other + vocals)):
        mono = soxr.resample(played.mean(axis=0), 44_100, 16_000)
        expected = frame_energies(torch.from_numpy(mono)[None], 16_000)[0]
        found_powers = torch.from_numpy(np.load(kept)[row].astype(np.float32)).exp()
        torch.testing.assert_close(found_powers, expected, rtol=0.02, atol=1e-9)
    assert torch.equal(
        found[0].separated_powers(),
        torch.from_numpy(np.load(kept)[0].astype(np.float32)).exp(),
    )

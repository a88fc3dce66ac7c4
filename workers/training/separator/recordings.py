"""What a separator does to recorded sound: recorded drums among rendered stems, and songs in
two true tracks.

No free multitrack with all four stems is at hand. Two things can be measured without guessing:
pieces whose drum part is played by recorded drums (every stem is known), and songs published as
guitar and band (where the recorded guitar goes is known).
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import soundfile
from demucs.hdemucs import HDemucs
from numpy.typing import NDArray
from scipy.signal import stft

from workers.training.data.corpus import SAMPLE_RATE, list_pieces, load_piece
from workers.training.separator.drumkits import DrumKit
from workers.training.separator.evaluation import Scores, empty_scores, score, separate
from workers.training.separator.model import SOURCES

Samples = NDArray[np.float32]

_WINDOW = 4096


def evaluate_recorded_drums(
    model: HDemucs,
    corpus: Path,
    kits: Sequence[DrumKit],
    pieces: int | None = None,
    split: str = "test",
) -> tuple[Scores, Scores]:
    """Scores of a split's pieces with recorded drums, and of the same pieces as rendered.

    The recorded drums play the piece's own drum notes, at the level of the part they replace; kits
    take turns. Pieces without drums are left out.
    """
    recorded, rendered = empty_scores(), empty_scores()
    for index, folder in enumerate(list_pieces(corpus, split)[:pieces]):
        piece = load_piece(folder)
        stems = [piece.stem(source) for source in SOURCES]
        drums = kits[index % len(kits)].play(piece.meta["notes"]["drums"], stems[0].shape[1])
        loudness, wanted = _rms(drums), _rms(stems[0])
        if min(loudness, wanted) < 1e-4:
            continue
        score(model, stems, rendered)
        score(model, [drums * np.float32(wanted / loudness), *stems[1:]], recorded)
    return recorded, rendered


def guitar_shares(model: HDemucs, guitar: Samples, band: Samples) -> dict[str, float]:
    """Where the energy of a recorded guitar goes, by stem; float32 [2, samples] at 44.1 kHz.

    Each stem that the model makes of guitar + band is projected on the guitar, frequency by
    frequency; what is found there over the guitar's energy is that stem's share. A separator that
    knows the guitar as `other` has 1 there and 0 elsewhere.
    """
    estimates = separate(model, guitar + band)
    reference = _spectrum(guitar)
    power = np.sum(np.abs(reference) ** 2, axis=-1)
    shares = {}
    for source, estimate in zip(SOURCES, estimates, strict=True):
        inner = np.sum(_spectrum(estimate) * reference.conj(), axis=-1)
        found = np.sum(np.abs(inner) ** 2 / (power + 1e-12))
        shares[source] = float(found / (np.sum(power) + 1e-12))
    return shares


def evaluate_two_tracks(
    model: HDemucs,
    root: Path,
    seconds: float = 30.0,
    report: Callable[[str], None] = print,
) -> dict[str, dict[str, float]]:
    """`guitar_shares` by song of every folder under ``root`` with guitar.ogg and song.ogg.

    The excerpt begins a third into the song. A song that cannot be read, differs in length, or
    whose guitar rests there, is skipped; ``report`` is told why.
    """
    found: dict[str, dict[str, float]] = {}
    for path in sorted(root.rglob("guitar.ogg")):
        try:
            guitar = _middle(path.parent / "guitar.ogg", seconds)
            band = _middle(path.parent / "song.ogg", seconds)
            if guitar.shape != band.shape:
                raise ValueError("its tracks differ in length")
            if _rms(guitar) < 1e-3:
                raise ValueError("its guitar rests in the excerpt")
        except (ValueError, soundfile.LibsndfileError) as error:
            report(f"skipped song {path.parent.name}: {error}")
            continue
        found[path.parent.name] = guitar_shares(model, guitar, band)
    return found


def shares_table(songs: Mapping[str, Mapping[str, float]]) -> str:
    """Shares of the guitar's energy by song and stem, in per cent, with their mean."""
    width = max(len(name) for name in (*songs, "guitar found in, %"))
    lines = [f"{'guitar found in, %':{width}}" + "".join(f"{s:>8}" for s in SOURCES)]
    mean = {s: float(np.mean([shares[s] for shares in songs.values()])) for s in SOURCES}
    for name, shares in (*songs.items(), ("mean", mean)):
        lines.append(f"{name:{width}}" + "".join(f"{100 * shares[s]:8.1f}" for s in SOURCES))
    return "\n".join(lines)


def _middle(path: Path, seconds: float) -> Samples:
    info = soundfile.info(path)
    if info.samplerate != SAMPLE_RATE:
        raise ValueError(f"{path.name} is at {info.samplerate} Hz, not {SAMPLE_RATE}")
    audio, _ = soundfile.read(
        path,
        start=info.frames // 3,
        frames=round(seconds * SAMPLE_RATE),
        dtype="float32",
        always_2d=True,
    )
    stereo = np.repeat(audio, 2, axis=1) if audio.shape[1] == 1 else audio[:, :2]
    return np.ascontiguousarray(stereo.T, dtype=np.float32)


def _spectrum(audio: Samples) -> NDArray[np.complex64]:
    return np.asarray(stft(audio, nperseg=_WINDOW, axis=-1)[2])


def _rms(audio: Samples) -> float:
    return float(np.sqrt(np.mean(audio**2)))

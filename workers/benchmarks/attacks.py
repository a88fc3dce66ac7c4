"""What happens to music on its way, and what somebody may do to it: for `reprise bench watermark`.

Each attack is given audio that carries a mark, float32 [2, T] at 44.1 kHz, and gives back audio at
the same rate, which may be shorter or longer.
"""

import io
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import av
import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from python_stretch.Signalsmith import Stretch
from scipy.signal import butter, lfilter, oaconvolve, sosfiltfilt

from workers.training.data.pieces import SAMPLE_RATE
from workers.training.data.score import Note
from workers.training.data.voice import sing

Samples = NDArray[np.float32]

_BLOCK = 1 << 16
_SPEECH = (
    "This remix was made with the artist's consent. The drums are new, everything else is as it "
    "was recorded, and whoever wants to know more can ask the file itself. "
) * 4


@dataclass(frozen=True)
class Scene:
    """What an attacker has.

    Attributes:
        marked: the audio with its mark.
        mark: lays another mark (another payload, the same key) over audio.
        sibling: the same music without a mark of its own yet.
        rng: of this attack and this piece.
    """

    marked: Samples
    sibling: Samples
    mark: Callable[[Samples], Samples]
    rng: np.random.Generator


@dataclass(frozen=True)
class Attack:
    """One of them.

    Attributes:
        name: short, unique.
        words: for the table.
        apply: what is done.
        asked: whether it is on the list that was given; the others were added to find the limits.
    """

    name: str
    words: str
    apply: Callable[[Scene], Samples]
    asked: bool = True


def coded(samples: Samples, codec: str, container: str, kbps: int, rate: int) -> Samples:
    """Through a lossy codec of FFmpeg's, and back to 44.1 kHz."""
    sound = soxr.resample(samples.T, SAMPLE_RATE, rate, quality="VHQ").T
    packed = codec == "libopus"
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        stream = out.add_stream(codec, rate=rate)
        if not isinstance(stream, av.AudioStream):
            raise TypeError(f"{codec} is not an audio codec")
        stream.layout, stream.bit_rate = "stereo", kbps * 1000
        for start in range(0, sound.shape[1], _BLOCK):
            block = sound[:, start : start + _BLOCK].astype(np.float32)
            planes = block.T.reshape(1, -1) if packed else block
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(planes), format="flt" if packed else "fltp", layout="stereo"
            )
            frame.sample_rate, frame.pts = rate, start
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    file.seek(0)
    resampler = av.AudioResampler(format="fltp", layout="stereo", rate=SAMPLE_RATE)
    with av.open(file, "r") as source:
        blocks = [b for f in source.decode(audio=0) for b in resampler.resample(f)]
        blocks += resampler.resample(None)
    return np.concatenate([b.to_ndarray() for b in blocks], axis=1).astype(np.float32)


def mp3(kbps: int) -> Callable[[Scene], Samples]:
    """LAME at a constant bit rate."""
    return lambda scene: coded(scene.marked, "libmp3lame", "mp3", kbps, SAMPLE_RATE)


def aac(kbps: int) -> Callable[[Scene], Samples]:
    """FFmpeg's own AAC-LC encoder."""
    return lambda scene: coded(scene.marked, "aac", "adts", kbps, SAMPLE_RATE)


def opus(kbps: int) -> Callable[[Scene], Samples]:
    """libopus; it works at 48 kHz."""
    return lambda scene: coded(scene.marked, "libopus", "ogg", kbps, 48_000)


def resampled(scene: Scene, rate: int = 22_050) -> Samples:
    """To a lower rate and back."""
    low = soxr.resample(scene.marked.T, SAMPLE_RATE, rate, quality="HQ")
    return np.ascontiguousarray(soxr.resample(low, rate, SAMPLE_RATE, quality="HQ").T)


def rounded(scene: Scene) -> Samples:
    """To eight bits, without dither."""
    return np.round(scene.marked * 127).astype(np.float32) / np.float32(127)


def played(percent: float) -> Callable[[Scene], Samples]:
    """Faster and higher, as a record player does it."""

    def apply(scene: Scene) -> Samples:
        rate = SAMPLE_RATE * (1 + percent / 100)
        return np.ascontiguousarray(
            soxr.resample(scene.marked.T, rate, SAMPLE_RATE, quality="VHQ").T
        )

    return apply


def stretched(semitones: float, tempo_percent: float = 0.0) -> Callable[[Scene], Samples]:
    """Transposed or stretched by Signalsmith Stretch."""

    def apply(scene: Scene) -> Samples:
        engine = Stretch(1)
        engine.preset(2, SAMPLE_RATE)
        engine.setTimeFactor(1 + tempo_percent / 100)
        engine.setTransposeSemitones(semitones)
        return np.asarray(engine.process(np.ascontiguousarray(scene.marked)), dtype=np.float32)

    return apply


def cropped(
    seconds: float, then: Callable[[Scene], Samples] | None = None
) -> Callable[[Scene], Samples]:
    """A piece of it, from anywhere; what follows is done to the piece."""

    def apply(scene: Scene) -> Samples:
        length = round(seconds * SAMPLE_RATE)
        start = int(scene.rng.integers(0, scene.marked.shape[1] - length + 1))
        cut = scene.marked[:, start : start + length]
        return cut if then is None else then(Scene(cut, cut, scene.mark, scene.rng))

    return apply


def quieter(scene: Scene) -> Samples:
    """By 12 dB."""
    return scene.marked * np.float32(0.25)


def equalized(scene: Scene) -> Samples:
    """Bass up and treble down by 6 dB (shelves at 250 Hz and 4 kHz)."""
    low, high = _shelf(250.0, 6.0, low=True), _shelf(4000.0, -6.0, low=False)
    return np.asarray(lfilter(*high, lfilter(*low, scene.marked)), dtype=np.float32)


def _shelf(
    hz: float, gain_db: float, *, low: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A shelving filter of slope 1 (Bristow-Johnson's cookbook): numerator, denominator."""
    a, w = 10 ** (gain_db / 40), 2 * np.pi * hz / SAMPLE_RATE
    s, c, root = (1.0 if low else -1.0), np.cos(w), 2 * np.sqrt(a) * np.sin(w) / np.sqrt(2)
    numerator = [
        a * (a + 1 - s * (a - 1) * c + root),
        s * 2 * a * (a - 1 - s * (a + 1) * c),
        a * (a + 1 - s * (a - 1) * c - root),
    ]
    denominator = [
        a + 1 + s * (a - 1) * c + root,
        -s * 2 * (a - 1 + s * (a + 1) * c),
        a + 1 + s * (a - 1) * c - root,
    ]
    return np.array(numerator), np.array(denominator)


def reverberated(scene: Scene, decay_s: float = 0.6, wet: float = 0.3) -> Samples:
    """In a room of noise that dies away by 60 dB in 0.6 s, 30 % of the sum."""
    length = round(decay_s * SAMPLE_RATE)
    fading = 10 ** (-3 * np.arange(length) / length)
    response = scene.rng.standard_normal((2, length)) * fading
    response /= np.sqrt(np.square(response).sum(axis=1, keepdims=True))
    room = oaconvolve(scene.marked, response, axes=1)[:, : scene.marked.shape[1]]
    return ((1 - wet) * scene.marked + wet * room).astype(np.float32)


def noisy(snr_db: float) -> Callable[[Scene], Samples]:
    """White noise, so far below the music."""

    def apply(scene: Scene) -> Samples:
        noise = scene.rng.standard_normal(scene.marked.shape)
        return _added(scene.marked, noise, snr_db)

    return apply


def spoken_over(scene: Scene) -> Samples:
    """Speech over it, as loud as the music."""
    speech = np.tile(_speech(), 1 + scene.marked.shape[1] // len(_speech()))
    return _added(scene.marked, speech[: scene.marked.shape[1]], 0.0)


def _added(samples: Samples, other: NDArray[np.floating], apart_db: float) -> Samples:
    gain = np.sqrt(np.mean(np.square(samples)) / np.mean(np.square(other))) * 10 ** (-apart_db / 20)
    return (samples + gain * other).astype(np.float32)


def speech_source() -> str:
    """What speaks: eSpeak NG where it is installed, else a sung vowel line."""
    return "eSpeak NG" if shutil.which("espeak-ng") else "sung vowels (no espeak-ng here)"


@lru_cache(maxsize=1)
def _speech() -> Samples:
    """Mono at 44.1 kHz, some ten seconds or more."""
    program = shutil.which("espeak-ng")
    if program is None:
        notes = [Note(0.35 * n, 0.3, 48 + n * 5 % 9, 100, 0, "vocals") for n in range(60)]
        return sing(notes, 21 * SAMPLE_RATE, SAMPLE_RATE, np.random.default_rng(1))[0]
    told = subprocess.run([program, "--stdout", _SPEECH], capture_output=True, check=True)
    voice, rate = soundfile.read(io.BytesIO(told.stdout), dtype="float32")
    return np.asarray(soxr.resample(voice, rate, SAMPLE_RATE, quality="HQ"), dtype=np.float32)


def marked_twice(scene: Scene) -> Samples:
    """Another mark over the first."""
    return scene.mark(scene.marked)


def averaged(scene: Scene) -> Samples:
    """The mean of two siblings, as who has both may try."""
    return (scene.marked + scene.mark(scene.sibling)) * np.float32(0.5)


def telephoned(scene: Scene) -> Samples:
    """300 Hz to 3.4 kHz, in one channel."""
    band = butter(8, (300.0, 3400.0), "bandpass", fs=SAMPLE_RATE, output="sos")
    mono = sosfiltfilt(band, scene.marked.mean(axis=0))
    return np.stack([mono, mono]).astype(np.float32)


def sides(scene: Scene) -> Samples:
    """Left less right: what stands in the middle is gone."""
    side = (scene.marked[0] - scene.marked[1]) * np.float32(0.5)
    return np.stack([side, side])


TWICE, MEAN_OF_TWO = "two", "averaged"

ATTACKS: tuple[Attack, ...] = (
    Attack("none", "as it was written", lambda scene: scene.marked),
    Attack("mp3-128", "MP3 128 kbit/s", mp3(128)),
    Attack("mp3-64", "MP3 64 kbit/s", mp3(64)),
    Attack("aac-96", "AAC 96 kbit/s", aac(96)),
    Attack("opus-64", "Opus 64 kbit/s", opus(64)),
    Attack("22k", "22.05 kHz and back", resampled),
    Attack("8-bit", "8 bits", rounded),
    Attack("speed+1", "speed +1 %", played(1)),
    Attack("speed-1", "speed -1 %", played(-1)),
    Attack("speed+5", "speed +5 %", played(5)),
    Attack("speed-5", "speed -5 %", played(-5)),
    Attack("pitch+1", "pitch +1 semitone", stretched(1)),
    Attack("pitch-1", "pitch -1 semitone", stretched(-1)),
    Attack("crop-10", "10 s of it", cropped(10)),
    Attack("crop-3", "3 s of it", cropped(3)),
    Attack("gain", "gain -12 dB", quieter),
    Attack("eq", "equalizer, +6 and -6 dB", equalized),
    Attack("reverb", "reverberation, 0.6 s", reverberated),
    Attack("noise-20", "white noise, 20 dB below", noisy(20)),
    Attack("speech", "speech over it, as loud", spoken_over),
    Attack(TWICE, "two watermarks: the first", marked_twice),
    Attack("tempo+5", "tempo +5 %, pitch kept", stretched(0, 5), asked=False),
    Attack("crop-3-mp3-64", "3 s of it as MP3 64 kbit/s", cropped(3, mp3(64)), asked=False),
    Attack("crop-3-speed", "3 s of it, speed +5 %", cropped(3, played(5)), asked=False),
    Attack("crop-1.5", "1.5 s of it", cropped(1.5), asked=False),
    Attack("mp3-32", "MP3 32 kbit/s", mp3(32), asked=False),
    Attack("noise-5", "white noise, 5 dB below", noisy(5), asked=False),
    Attack("telephone", "300 to 3,400 Hz, one channel", telephoned, asked=False),
    Attack("sides", "left less right", sides, asked=False),
    Attack(MEAN_OF_TWO, "mean of two siblings: either", averaged, asked=False),
    Attack("speed+8", "speed +8 %", played(8), asked=False),
    Attack("speed+12", "speed +12 %: not searched", played(12), asked=False),
    Attack("pitch+3", "pitch +3 semitones: not searched", stretched(3), asked=False),
)

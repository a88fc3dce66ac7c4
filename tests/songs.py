"""Songs of a composer who has one kit, one tempo and one key; and what a codec leaves of them."""

import io
from functools import lru_cache
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

RATE = 44_100
SECONDS = 30.0
SCALE = (0, 2, 3, 5, 7, 8, 10)
Samples = NDArray[np.float32]


@lru_cache
def song(seed: int, tempo: float = 112.0) -> Samples:
    """A song of a composer who has one kit, one tempo, one key: only the notes differ."""
    notes, kit = np.random.default_rng(seed), np.random.default_rng(99)
    out = np.zeros(int(SECONDS * RATE))
    beat = 60 / tempo
    time = np.arange(int(0.35 * RATE)) / RATE
    kick = np.sin(2 * np.pi * 55 * time) * np.exp(-14 * time)
    snare = kit.normal(size=time.size) * np.exp(-22 * time) * 0.5
    hat = np.diff(kit.normal(size=time.size + 1)) * np.exp(-60 * time) * 0.3

    def put(sound: NDArray[Any], at: float, gain: float) -> None:
        begin = int(at * RATE)
        part = sound[: max(0, out.size - begin)]
        out[begin : begin + part.size] += gain * part

    def tone(midi: float, length: float, harmonics: int) -> NDArray[Any]:
        moment = np.arange(int(length * RATE)) / RATE
        pitch = 440 * 2 ** ((midi - 69) / 12)
        waves = [np.sin(2 * np.pi * pitch * k * moment) / k for k in range(1, harmonics + 1)]
        return np.sum(waves, axis=0) * np.minimum(1, moment / 0.01) * np.exp(-2.2 * moment)

    root = 45
    for step in range(int(SECONDS / beat * 2)):
        at = step * beat / 2
        put(hat, at, 0.5)
        if step % 8 == 0:
            root = 45 + SCALE[notes.integers(7)]
            for third in (0, 3, 7):
                put(tone(root + 12 + third, beat * 4, 6), at, 0.18)
        if step % 4 == 0:
            put(kick, at, 1.0)
        if step % 4 == 2:
            put(snare, at, 0.8)
        if step % 2 == 0:
            put(tone(root - 12, beat, 5), at, 0.4)
        if notes.random() < 0.75:
            pitch = 57 + 12 * int(notes.integers(2)) + SCALE[notes.integers(7)]
            put(tone(pitch, beat * float(notes.choice([0.5, 1, 1.5])), 8), at, 0.3)
    return (0.8 * out / np.abs(out).max()).astype(np.float32)


def through_mp3(samples: Samples, rate: int = RATE) -> Samples:
    """Encoded at 128 kbit/s, and decoded."""
    return through(samples, rate, "mp3", "libmp3lame", 128_000)


def through_aac(samples: Samples, rate: int = RATE) -> Samples:
    """Encoded as AAC at 96 kbit/s in an M4A file, and decoded."""
    return through(samples, rate, "ipod", "aac", 96_000)


def through(samples: Samples, rate: int, container_format: str, codec: str, bits: int) -> Samples:
    """Encoded in stereo at so many bits a second, and decoded; mono again."""
    sink = io.BytesIO()
    with av.open(sink, "w", format=container_format) as container:
        stream: Any = container.add_stream(codec, rate=rate)
        stream.bit_rate, stream.layout = bits, "stereo"
        frame = av.AudioFrame.from_ndarray(np.stack([samples] * 2), "fltp", "stereo")
        frame.sample_rate = rate
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    sink.seek(0)
    with av.open(sink) as container:
        frames = [frame.to_ndarray() for frame in container.decode(audio=0)]
    return np.concatenate(frames, axis=1)[0]

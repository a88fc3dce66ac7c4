"""The stem codecs, through their one interface: the bundled ones, and a low range untrained."""

import copy
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import checkpoints
from workers.compiled_librosa import librosa
from workers.regeneration.codecs import (
    BassCodec,
    BassCodecConfig,
    Codec,
    CodecError,
    DrumCodec,
    DrumCodecConfig,
    code_digest,
    load_codec,
)
from workers.regeneration.codecs.quantiser import dequantise, quantise

BUNDLED = Path(checkpoints.__file__).parent


def _bundled(part: str) -> Codec:
    folder = BUNDLED / f"reprise-{part}-codec"
    return load_codec(
        json.loads((folder / "config.json").read_text()), load_file(folder / "model.safetensors")
    )


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def drums() -> Codec:
    return _bundled("drums")


@pytest.fixture(scope="module")
def bass() -> Codec:
    return _bundled("bass")


@pytest.fixture(scope="module", params=["drums", "bass"])
def codec(request: pytest.FixtureRequest) -> Codec:
    chosen: Codec = request.getfixturevalue(request.param)
    return chosen


def _hits(codec: Codec, times: list[float], seconds: float) -> Tensor:
    """Drum-like hits [1, 1, T]: bursts of noise that decay over 30 ms, at exact samples."""
    rng = np.random.default_rng(5)
    audio = np.zeros(int(seconds * codec.sample_rate), np.float32)
    length = int(0.2 * codec.sample_rate)
    decay = np.exp(-np.arange(length) / (0.03 * codec.sample_rate))
    for time in times:
        first = round(time * codec.sample_rate)
        audio[first : first + length] += 0.5 * decay * rng.uniform(-1, 1, length)
    return torch.from_numpy(audio)[None, None]


def _plucks(codec: Codec, notes: list[tuple[float, float]], seconds: float) -> Tensor:
    """Bass-like notes [1, 1, T] of (start s, MIDI pitch): eight falling harmonics, 0.4 s long."""
    audio = np.zeros(int(seconds * codec.sample_rate), np.float32)
    t = np.arange(int(0.4 * codec.sample_rate)) / codec.sample_rate
    shape = np.minimum(t / 0.002, 1) * np.exp(-t * 3) * np.minimum((0.4 - t) / 0.02, 1)
    for start, pitch in notes:
        f0 = 440 * 2 ** ((pitch - 69) / 12)
        tone = sum(np.sin(2 * np.pi * f0 * k * t) / k for k in range(1, 9))
        first = round(start * codec.sample_rate)
        audio[first : first + len(t)] += 0.3 * shape * tone
    return torch.from_numpy(audio)[None, None]


def _rise(audio: Tensor, sample_rate: int, near: float) -> float:
    """Where, within 60 ms of `near` (s), the 2 ms envelope first passes a third of its peak."""
    size = round(0.002 * sample_rate)
    first = round((near - 0.06) * sample_rate)
    window = audio[0, 0, first : first + round(0.12 * sample_rate)].abs()
    envelope = torch.nn.functional.avg_pool1d(window[None], size, stride=1)[0]
    above = (envelope > envelope.max() / 3).int().argmax()
    return (first + int(above) + size / 2) / sample_rate


@pytest.mark.parametrize("length", [1, 639, 640, 641, 32_000])
def test_shapes_are_whole_frames(codec: Codec, length: int) -> None:
    codes = codec.encode(torch.rand(2, 1, length) - 0.5)
    frames = math.ceil(length / codec.hop)
    assert codes.shape == (2, codec.codebooks, frames)
    assert codes.dtype == torch.int64
    assert int(codes.min()) >= 0 and int(codes.max()) < codec.codebook_size
    audio = codec.decode(codes)
    assert audio.shape == (2, 1, frames * codec.hop)
    assert audio.dtype == torch.float32
    assert torch.isfinite(audio).all()


def test_fifty_frames_a_second(codec: Codec) -> None:
    assert codec.frame_rate == 50.0
    assert codec.hop * codec.frame_rate == codec.sample_rate


def test_the_same_input_gives_the_same_output(codec: Codec) -> None:
    audio = torch.rand(1, 1, codec.sample_rate, generator=torch.Generator().manual_seed(3)) - 0.5
    codes = codec.encode(audio)
    torch.manual_seed(1)
    first = codec.decode(codes)
    torch.manual_seed(2)
    assert torch.equal(codec.encode(audio), codes)
    assert torch.equal(codec.decode(codes), first)


def test_rows_of_a_batch_do_not_touch_each_other(codec: Codec) -> None:
    audio = torch.rand(3, 1, codec.sample_rate, generator=torch.Generator().manual_seed(4)) - 0.5
    together = codec.encode(audio)
    alone = torch.cat([codec.encode(row[None]) for row in audio])
    assert torch.equal(together, alone)
    apart = torch.cat([codec.decode(row[None]) for row in alone])
    assert torch.equal(codec.decode(together), apart)


def test_long_audio_is_worked_on_in_pieces_without_seams(drums: Codec, bass: Codec) -> None:
    assert isinstance(drums, DrumCodec) and isinstance(bass, BassCodec)
    audio = _hits(drums, [0.1 + 0.25 * i for i in range(95)], 24.0)
    codes = drums.encode(audio)  # 1200 frames: more than one piece
    whole = quantise(drums.analyse(audio), drums.tables)
    assert (codes == whole).float().mean() > 0.999  # a tie may fall to the other side
    made = drums.synthesise(dequantise(codes, drums.tables))
    assert torch.allclose(drums.decode(codes), made, atol=1e-4)
    line = _plucks(bass, [(0.1 + 0.5 * i, 30.0 + i % 12) for i in range(46)], 24.0)
    pitch = bass.pitch(line[:, 0]).argmax(-1)
    assert (bass.encode(line)[:, 0] == pitch).float().mean() > 0.999


@pytest.fixture(scope="module")
def low_drums() -> DrumCodec:
    """A drum codec of the generation with a low range; untrained."""
    torch.manual_seed(0)
    made = DrumCodec(DrumCodecConfig(codebooks=3, codebook_size=64, low_bins=40))
    torch.nn.init.normal_(made.tables)
    return made.eval()


@torch.no_grad()
def test_a_low_range_is_read_and_written_in_pieces_without_seams(low_drums: DrumCodec) -> None:
    audio = _hits(low_drums, [0.1 + 0.25 * i for i in range(95)], 24.0)
    codes = low_drums.encode(audio)
    whole = quantise(low_drums.analyse(audio), low_drums.tables)
    assert (codes == whole).float().mean() > 0.999
    made = low_drums.synthesise(dequantise(codes, low_drums.tables))
    assert torch.allclose(low_drums.decode(codes), made, atol=1e-4 * float(made.abs().max()))


@torch.no_grad()
def test_the_low_range_belongs_to_the_low_head(low_drums: DrumCodec) -> None:
    def low_and_high(codec: DrumCodec) -> tuple[float, float]:
        made = codec.decode(torch.randint(0, 64, (1, 3, 100)))[0, 0]
        power = torch.fft.rfft(made * torch.hann_window(len(made))).abs().square()
        hertz = torch.linspace(0, codec.sample_rate / 2, len(power))
        return float(power[hertz < 800].mean()), float(power[hertz > 1200].mean())

    without = copy.deepcopy(low_drums)
    levels = without.get_parameter("low_head.1.bias")
    levels.view(2, 2, 40)[:, 0] = -20.0  # per frame, 40 log-magnitudes and 40 phases twice
    (low, high), (low_without, high_without) = low_and_high(low_drums), low_and_high(without)
    assert low_without < 1e-2 * low
    assert high_without == pytest.approx(high, rel=0.5)


def test_a_digest_names_the_encoder_and_the_codebooks(low_drums: DrumCodec, bass: Codec) -> None:
    for codec in (low_drums, bass):
        digest = code_digest(codec)
        rebuilt = load_codec(
            json.loads(json.dumps(codec.config())),
            {k: v.half() for k, v in codec.state_dict().items()},
        )
        assert code_digest(rebuilt) == digest
        for name in codec.state_dict():
            changed = copy.deepcopy(codec)
            changed.state_dict()[name].add_(1.0)
            assert (code_digest(changed) != digest) == codec.is_encoding(name), name
            same_codes = torch.equal(
                changed.encode(_hits(codec, [0.1], 0.3)), codec.encode(_hits(codec, [0.1], 0.3))
            )
            assert same_codes or codec.is_encoding(name), name


def test_silence_stays_silent(codec: Codec) -> None:
    silence = torch.zeros(1, 1, 2 * codec.sample_rate)
    made = codec.decode(codec.encode(silence))
    assert float(made.pow(2).mean().sqrt()) < 10 ** (-50 / 20)


def test_drum_hits_come_back_in_place(drums: Codec) -> None:
    # Off the 20 ms grid on purpose.
    times = [0.2037, 0.5, 0.7511, 1.0093, 1.2579, 1.5151, 1.7533]
    made = drums.decode(drums.encode(_hits(drums, times, 2.0)))
    for time in times:
        assert _rise(made, drums.sample_rate, time) == pytest.approx(time, abs=0.010)


def test_bass_notes_start_in_place(bass: Codec) -> None:
    notes = [(0.2037, 40.0), (0.7511, 33.0), (1.2579, 45.0), (1.7533, 28.0)]
    audio = _plucks(bass, notes, 2.5)
    made = bass.decode(bass.encode(audio))
    for time, _ in notes:
        before = _rise(audio, bass.sample_rate, time)
        assert _rise(made, bass.sample_rate, time) == pytest.approx(before, abs=0.020)


@pytest.mark.parametrize("offset", [0.0, 0.5])
def test_bass_pitch_survives_in_quarter_tones(bass: Codec, offset: float) -> None:
    pitches = [28, 31, 35, 40, 43, 47, 52]
    notes = [(0.1 + 0.5 * i, pitch + offset) for i, pitch in enumerate(pitches)]
    made = bass.decode(bass.encode(_plucks(bass, notes, 4.0)))[0, 0].numpy()
    track, voiced, _ = librosa.pyin(
        made, fmin=30, fmax=400, sr=bass.sample_rate, frame_length=2048, hop_length=bass.hop
    )
    for start, pitch in notes:
        frames = slice(int((start + 0.1) * 50), int((start + 0.3) * 50))
        heard = librosa.hz_to_midi(track[frames][voiced[frames]])
        assert len(heard) >= 5, f"note {pitch} is not heard"
        assert float(np.median(heard)) == pytest.approx(pitch, abs=0.3)


def test_bass_pitch_is_the_first_codebook(bass: Codec) -> None:
    assert isinstance(bass, BassCodec)
    low, high = (
        bass.encode(_plucks(bass, [(0.1, pitch)], 0.6))[0, 0, 12:20] for pitch in (33.0, 45.0)
    )
    assert (low == 2 * (33 - 24) + 1).float().mean() > 0.8
    assert (high == 2 * (45 - 24) + 1).float().mean() > 0.8


def test_pitch_codes_past_the_grid_are_unvoiced(bass: Codec) -> None:
    timbre = torch.full((1, 1, 20), 7)
    past = bass.decode(torch.cat([torch.full((1, 1, 20), 200), timbre], 1))
    none = bass.decode(torch.cat([torch.zeros(1, 1, 20, dtype=torch.int64), timbre], 1))
    assert torch.equal(past, none)


def test_fewer_codebooks_decode_to_the_same_length(codec: Codec) -> None:
    codes = codec.encode(_hits(codec, [0.3, 0.6], 1.0))
    for count in range(1, codec.codebooks + 1):
        assert codec.decode(codes[:, :count]).shape == (1, 1, codec.sample_rate)


@pytest.mark.parametrize("shape", [(16_000,), (1, 16_000), (1, 2, 16_000), (1, 1, 0)])
def test_audio_of_another_shape_is_refused(codec: Codec, shape: tuple[int, ...]) -> None:
    with pytest.raises(CodecError, match=r"\[B, 1, T\]"):
        codec.encode(torch.zeros(shape))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_samples_that_are_not_finite_are_refused(codec: Codec, bad: float) -> None:
    audio = torch.zeros(1, 1, 16_000)
    audio[0, 0, 99] = bad
    with pytest.raises(CodecError, match="finite"):
        codec.encode(audio)


def test_codes_outside_the_codebook_are_refused(codec: Codec) -> None:
    for bad in (-1, codec.codebook_size):
        with pytest.raises(CodecError, match="must lie in"):
            codec.decode(torch.full((1, codec.codebooks, 4), bad))
    with pytest.raises(CodecError, match="shape"):
        codec.decode(torch.zeros(1, codec.codebooks + 1, 4, dtype=torch.int64))


def test_config_and_weights_rebuild_the_codec() -> None:
    torch.manual_seed(0)
    for made in (
        DrumCodec(DrumCodecConfig(codebooks=3, codebook_size=16, decoder_blocks=1)),
        BassCodec(BassCodecConfig(codebooks=3, codebook_size=128, harmonics=20)),
    ):
        torch.nn.init.normal_(made.get_buffer("tables"))
        config = json.loads(json.dumps(made.config()))
        again = load_codec({**config, "training": {"steps": 1}}, made.state_dict())
        codes = torch.randint(0, 16, (1, 3, 9))
        assert torch.equal(again.decode(codes), made.eval().decode(codes))


def test_an_unknown_or_ill_fitting_checkpoint_is_refused(drums: Codec) -> None:
    with pytest.raises(CodecError, match="unknown codec"):
        load_codec({"codec": "kazoo"}, {})
    state = dict(drums.state_dict())
    state.pop("tables")
    with pytest.raises(CodecError, match="do not fit"):
        load_codec(drums.config(), state)


def test_bundled_codecs_are_small() -> None:
    for part in ("drums", "bass"):
        path = BUNDLED / f"reprise-{part}-codec" / "model.safetensors"
        assert path.stat().st_size <= 10_000_000


def test_serving_imports_neither_audiocraft_nor_torchaudio() -> None:
    code = (
        "import sys, workers.regeneration.codecs\n"
        "found = {m.split('.')[0] for m in sys.modules} & {'audiocraft', 'torchaudio', 'librosa'}\n"
        "sys.exit(f'imported {found}' if found else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

"""Decoding: what listeners upload comes in whole; what is broken or hostile is refused cheaply."""

import struct
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import psutil
import pytest
import soundfile
from numpy.typing import NDArray

from service.errors import Problem
from service.ingestion.refusals import (
    AudioChannels,
    AudioEmpty,
    AudioNotFinite,
    AudioSampleRate,
    AudioTooLong,
    AudioTooShort,
    AudioTruncated,
    AudioUndecodable,
    DecodeLimit,
)
from service.permit import Permit, PermitDenied
from service.settings import Settings
from workers.audio import CHANNELS, SAMPLE_RATE, Audio, decode

Decode = Callable[..., Audio]
SECONDS = 4


@pytest.fixture
def music() -> NDArray[np.float32]:
    """Four seconds of stereo at 44.1 kHz, float32 [time, 2]: two tones with noise on top."""
    time_axis = np.arange(SECONDS * SAMPLE_RATE) / SAMPLE_RATE
    tones = np.stack([np.sin(2 * np.pi * f * time_axis) for f in (220.0, 330.0)], axis=1)
    noise = np.random.default_rng(1).standard_normal(tones.shape)
    return (0.3 * tones + 0.02 * noise).astype(np.float32)


@pytest.fixture
def decoded(permit_for: Callable[..., Permit]) -> Decode:
    def run(path: Path, **settings: float) -> Audio:
        return decode(permit_for("ingest"), path, Settings(**settings))  # type: ignore[arg-type]

    return run


def write_bare_mp3(path: Path, samples: NDArray[np.float32], options: dict[str, str]) -> Path:
    with av.open(str(path), "w", format="mp3", options={"write_xing": "0"}) as container:
        stream = container.add_stream("libmp3lame", rate=SAMPLE_RATE, layout="stereo")
        if "q" in options:
            stream.codec_context.flags |= 2  # AV_CODEC_FLAG_QSCALE: variable bit rate
            stream.codec_context.options = {"global_quality": str(int(options["q"]) * 118)}
        else:
            stream.bit_rate = int(options["b"])
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples.T), format="fltp", layout="stereo"
        )
        frame.sample_rate = SAMPLE_RATE
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return path


def write_m4a(path: Path, samples: NDArray[np.float32], codec: str = "aac") -> Path:
    """An M4A by FFmpeg's own muxer at 44.1 kHz; samples float32 [time, 2]."""
    sample_format, block = ("fltp", 1024) if codec == "aac" else ("s16p", 4096)
    planar = samples.T if codec == "aac" else (samples.T * 32767).astype(np.int16)
    with av.open(str(path), "w", format="ipod") as container:
        stream = container.add_stream(codec, rate=SAMPLE_RATE)
        assert isinstance(stream, av.AudioStream)
        stream.layout = "stereo"
        for start in range(0, planar.shape[1], block):
            piece = np.ascontiguousarray(planar[:, start : start + block])
            frame = av.AudioFrame.from_ndarray(piece, format=sample_format, layout="stereo")
            frame.sample_rate = SAMPLE_RATE
            frame.time_base = Fraction(1, SAMPLE_RATE)
            frame.pts = start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def similarity(audio: Audio, original: NDArray[np.float32]) -> float:
    """Correlation at lag zero: 1 for the same sound at the same place."""
    length = min(audio.frames, len(original))
    a, b = audio.samples[:, :length].ravel(), original[:length].T.ravel()
    return float(np.dot(a, b) / np.sqrt(np.dot(a, a) * np.dot(b, b)))


class TestWhatIsTaken:
    @pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
    def test_float_wav_is_exact(
        self, decoded: Decode, music: NDArray[np.float32], tmp_path: Path, subtype: str
    ) -> None:
        soundfile.write(tmp_path / "a.wav", music, SAMPLE_RATE, subtype=subtype)
        audio = decoded(tmp_path / "a.wav")
        assert audio.sample_rate == SAMPLE_RATE
        assert np.array_equal(audio.samples, music.T)

    @pytest.mark.parametrize(
        ("name", "subtype"), [("a.wav", "PCM_24"), ("a.flac", "PCM_24"), ("a.wav", "PCM_16")]
    )
    def test_pcm_is_as_exact_as_its_bits(
        self, decoded: Decode, music: NDArray[np.float32], tmp_path: Path, name: str, subtype: str
    ) -> None:
        soundfile.write(tmp_path / name, music, SAMPLE_RATE, subtype=subtype)
        step = 2.0 ** -(int(subtype.removeprefix("PCM_")) - 1)
        assert np.abs(decoded(tmp_path / name).samples - music.T).max() <= step

    @pytest.mark.parametrize(
        ("name", "options", "least"),
        [
            ("a.mp3", {}, 0.97),
            ("a.ogg", {"format": "OGG", "subtype": "VORBIS"}, 0.97),
        ],
    )
    def test_lossy_formats_keep_length_and_place(
        self,
        decoded: Decode,
        music: NDArray[np.float32],
        tmp_path: Path,
        name: str,
        options: dict[str, str],
        least: float,
    ) -> None:
        soundfile.write(tmp_path / name, music, SAMPLE_RATE, **options)
        audio = decoded(tmp_path / name)
        assert audio.frames == len(music)
        assert similarity(audio, music) > least

    def test_opus_comes_back_at_our_rate(self, decoded: Decode, tmp_path: Path) -> None:
        time_axis = np.arange(SECONDS * 48_000) / 48_000
        tone = np.repeat(0.3 * np.sin(2 * np.pi * 440 * time_axis)[:, None], 2, axis=1)
        soundfile.write(tmp_path / "a.opus", tone, 48_000, format="OGG", subtype="OPUS")
        audio = decoded(tmp_path / "a.opus")
        assert audio.frames == pytest.approx(SECONDS * SAMPLE_RATE, abs=2)
        spectrum = np.abs(np.fft.rfft(audio.samples[0]))
        assert spectrum.argmax() * SAMPLE_RATE / audio.frames == pytest.approx(440, abs=1)

    @pytest.mark.parametrize("codec", ["aac", "alac"])
    def test_m4a(
        self, decoded: Decode, music: NDArray[np.float32], tmp_path: Path, codec: str
    ) -> None:
        audio = decoded(write_m4a(tmp_path / "a.m4a", music, codec))
        assert audio.frames == len(music)
        assert similarity(audio, music) > 0.95

    @pytest.mark.parametrize("options", [{"b": "128000"}, {"q": "4"}], ids=["cbr", "vbr"])
    def test_an_mp3_whose_header_counts_no_frames_is_whole(
        self, decoded: Decode, tmp_path: Path, music: NDArray[np.float32], options: dict[str, str]
    ) -> None:
        """As an encoder writes it that cannot go back: into a pipe, or with no Info header."""
        seconds = len(music) / SAMPLE_RATE
        # Silence first: a length guessed from the first frames would be far off.
        quiet = np.zeros_like(music)
        samples = np.concatenate([quiet, music, quiet])
        audio = decoded(write_bare_mp3(tmp_path / "a.mp3", samples, options))
        assert audio.frames / SAMPLE_RATE == pytest.approx(3 * seconds, abs=0.1)
        middle = audio.samples[:, len(music) : 2 * len(music)]
        assert np.abs(middle).max() > 0.5 * np.abs(music).max()

    def test_mono_becomes_stereo(
        self, decoded: Decode, music: NDArray[np.float32], tmp_path: Path
    ) -> None:
        soundfile.write(tmp_path / "a.wav", music[:, 0], SAMPLE_RATE, subtype="FLOAT")
        audio = decoded(tmp_path / "a.wav")
        assert audio.channels == CHANNELS
        assert np.array_equal(audio.samples, np.stack([music[:, 0]] * 2))

    @pytest.mark.parametrize("rate", [8_000, 48_000, 96_000, 192_000])
    def test_other_rates_keep_pitch_and_length(
        self, decoded: Decode, tmp_path: Path, rate: int
    ) -> None:
        tone = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(SECONDS * rate) / rate)
        soundfile.write(tmp_path / "a.wav", tone.astype(np.float32), rate, subtype="FLOAT")
        audio = decoded(tmp_path / "a.wav")
        assert audio.frames == SECONDS * SAMPLE_RATE
        spectrum = np.abs(np.fft.rfft(audio.samples[0]))
        assert spectrum.argmax() / SECONDS == pytest.approx(1000, abs=0.5)

    def test_equal_files_give_equal_samples(
        self, decoded: Decode, music: NDArray[np.float32], tmp_path: Path
    ) -> None:
        soundfile.write(tmp_path / "a.ogg", music, 32_000)
        first, second = decoded(tmp_path / "a.ogg"), decoded(tmp_path / "a.ogg")
        assert np.array_equal(first.samples, second.samples)

    def test_the_kind_is_read_from_the_bytes_not_the_name(
        self, decoded: Decode, music: NDArray[np.float32], tmp_path: Path
    ) -> None:
        soundfile.write(tmp_path / "a.flac", music, SAMPLE_RATE)
        (tmp_path / "a.flac").rename(tmp_path / "song.mp3")
        assert decoded(tmp_path / "song.mp3").frames == len(music)


def refused(decoded: Decode, path: Path, problem: type[Problem], **settings: float) -> str:
    """The refusal's words; the time it may take is bounded here for all of them."""
    started = time.monotonic()
    with pytest.raises(problem) as caught:
        decoded(path, **settings)
    assert time.monotonic() - started < 20
    assert caught.value.status == 422
    assert str(path.parent) not in caught.value.detail, "a path of ours is nobody's business"
    return caught.value.detail


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        "content",
        [
            b"Dear label, please find the song attached.\n" * 50,
            b"ID3\x04\x00\x00\x00\x00\x00\x00" + b"not a frame " * 200,
            b"RIFF\xff\xff\xff\x7fWAVEfmt " + b"\x00" * 100,
            b"fLaC" + b"\x00" * 1000,
            b"OggS" + b"\xff" * 1000,
            b"\x00\x00\x00\x20ftypM4A " + b"\xff" * 1000,
            b"\xff\xfb\x90\x00" + b"noise" * 100,
        ],
        ids=["text", "id3", "wav", "flac", "ogg", "m4a", "mp3"],
    )
    def test_what_is_not_audio(self, decoded: Decode, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "song.mp3"
        path.write_bytes(content)
        started = time.monotonic()
        with pytest.raises((AudioUndecodable, AudioTruncated)) as caught:
            decoded(path)
        assert time.monotonic() - started < 20
        assert str(tmp_path) not in caught.value.detail

    @pytest.mark.parametrize("name", ["a.flac", "a.wav", "a.mp3", "a.ogg", "a.m4a"])
    @pytest.mark.parametrize("kept", [0.5, 0.9])
    def test_a_truncated_file(
        self,
        decoded: Decode,
        music: NDArray[np.float32],
        tmp_path: Path,
        name: str,
        kept: float,
    ) -> None:
        path = tmp_path / name
        if name == "a.m4a":
            write_m4a(path, music)
            _move_index_to_front(path)
        else:
            soundfile.write(path, music, SAMPLE_RATE)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * kept)])
        refused(decoded, path, AudioTruncated, min_track_seconds=0.5)

    def test_an_m4a_without_its_index(
        self, decoded: Decode, music: NDArray[np.float32], tmp_path: Path
    ) -> None:
        path = write_m4a(tmp_path / "a.m4a", music)
        content = path.read_bytes()
        path.write_bytes(content[: content.index(b"moov") - 4])
        refused(decoded, path, AudioUndecodable)

    def test_a_damaged_flac(
        self, decoded: Decode, music: NDArray[np.float32], tmp_path: Path
    ) -> None:
        soundfile.write(tmp_path / "a.flac", music, SAMPLE_RATE)
        content = bytearray((tmp_path / "a.flac").read_bytes())
        middle = len(content) // 2
        content[middle : middle + 4000] = b"\x55" * 4000
        (tmp_path / "a.flac").write_bytes(content)
        refused(decoded, tmp_path / "a.flac", AudioTruncated)

    def test_no_bytes(self, decoded: Decode, tmp_path: Path) -> None:
        (tmp_path / "a.wav").write_bytes(b"")
        refused(decoded, tmp_path / "a.wav", AudioEmpty)

    @pytest.mark.parametrize("name", ["a.wav", "a.flac"])
    def test_no_samples(self, decoded: Decode, tmp_path: Path, name: str) -> None:
        soundfile.write(tmp_path / name, np.zeros((0, 2), dtype=np.float32), SAMPLE_RATE)
        refused(decoded, tmp_path / name, AudioEmpty)

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
    def test_samples_that_are_no_level(
        self, decoded: Decode, music: NDArray[np.float32], tmp_path: Path, value: float
    ) -> None:
        music[-1, 1] = value
        soundfile.write(tmp_path / "a.wav", music, SAMPLE_RATE, subtype="FLOAT")
        refused(decoded, tmp_path / "a.wav", AudioNotFinite)

    @pytest.mark.parametrize("rate", [1, 7_999, 192_001, 384_000])
    def test_rates_nobody_has(self, decoded: Decode, tmp_path: Path, rate: int) -> None:
        soundfile.write(tmp_path / "a.wav", np.zeros((rate * 4, 2), dtype=np.float32), rate)
        assert f"{rate} Hz" in refused(decoded, tmp_path / "a.wav", AudioSampleRate)

    @pytest.mark.parametrize(("name", "count"), [("a.wav", 9), ("a.flac", 8), ("a.ogg", 3)])
    def test_too_many_channels(
        self, decoded: Decode, tmp_path: Path, name: str, count: int
    ) -> None:
        soundfile.write(tmp_path / name, np.zeros((SAMPLE_RATE * 4, count)), SAMPLE_RATE)
        assert f"{count} channels" in refused(decoded, tmp_path / name, AudioChannels)

    def test_too_short(self, decoded: Decode, tmp_path: Path) -> None:
        soundfile.write(tmp_path / "a.wav", np.zeros((SAMPLE_RATE, 2)), SAMPLE_RATE)
        refused(decoded, tmp_path / "a.wav", AudioTooShort)


def _move_index_to_front(path: Path) -> None:
    """Rewrite an M4A with `moov` before `mdat`, as files for streaming are."""
    target = path.with_suffix(".fast.m4a")
    with (
        av.open(str(path)) as source,
        av.open(str(target), "w", format="ipod", options={"movflags": "faststart"}) as sink,
    ):
        stream = sink.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(source.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = stream
                sink.mux(packet)
    target.replace(path)


class PeakMemory:
    """The largest resident size of any child begun in the block, sampled while it runs."""

    def __enter__(self) -> "PeakMemory":
        import threading

        self.bytes = 0
        self._before = set(psutil.Process().children(recursive=True))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        me = psutil.Process()
        while not self._stop.wait(0.02):
            for child in set(me.children(recursive=True)) - self._before:
                try:
                    self.bytes = max(self.bytes, child.memory_info().rss)
                except psutil.Error:
                    continue

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


HOURS = 2


class TestBombs:
    """Small files that unfold to hours, and headers that lie about it."""

    def silence(self, path: Path, rate: int = 22_050, channels: int = 1, **options: str) -> Path:
        block = np.zeros((rate * 60, channels), dtype=np.float32)
        with soundfile.SoundFile(path, "w", rate, channels, **options) as sink:
            for _ in range(HOURS * 60):
                sink.write(block)
        return path

    def test_hours_of_silence_in_a_small_flac(self, decoded: Decode, tmp_path: Path) -> None:
        path = self.silence(tmp_path / "a.flac")
        assert path.stat().st_size < 4e6
        with PeakMemory() as peak:
            detail = refused(decoded, path, AudioTooLong)
        assert f"{HOURS * 3600}" in detail
        assert peak.bytes < 300e6

    def test_a_flac_that_hides_its_hours(self, decoded: Decode, tmp_path: Path) -> None:
        path = self.silence(tmp_path / "a.flac")
        content = bytearray(path.read_bytes())
        # STREAMINFO's total of samples (36 bits; RFC 9639 section 8.2): 0 is "unknown".
        assert content[4] & 0x7F == 0
        content[21] &= 0xF0
        content[22:26] = bytes(4)
        path.write_bytes(content)
        with PeakMemory() as peak:
            refused(decoded, path, AudioTooLong, max_track_seconds=60)
        assert peak.bytes < 300e6

    def test_hours_of_silence_in_a_small_ogg(self, decoded: Decode, tmp_path: Path) -> None:
        path = self.silence(tmp_path / "a.ogg", 8_000, format="OGG", subtype="VORBIS")
        assert path.stat().st_size < 4e6
        with PeakMemory() as peak:
            refused(decoded, path, AudioTooLong)
        assert peak.bytes < 300e6

    def test_an_m4a_that_claims_a_moment_and_holds_minutes(
        self, decoded: Decode, tmp_path: Path
    ) -> None:
        path = write_m4a(tmp_path / "a.m4a", np.zeros((SAMPLE_RATE * 90, 2), dtype=np.float32))
        _lie(path, frames_per_packet=1)
        with PeakMemory() as peak:
            refused(decoded, path, AudioTooLong, max_track_seconds=30)
        assert peak.bytes < 300e6

    @pytest.mark.parametrize("frames_per_packet", [1, 3 * 1024, SAMPLE_RATE * 3600])
    def test_a_table_that_lies_about_packets_changes_nothing(
        self,
        decoded: Decode,
        music: NDArray[np.float32],
        tmp_path: Path,
        frames_per_packet: int,
    ) -> None:
        path = write_m4a(tmp_path / "a.m4a", music)
        _lie(path, frames_per_packet)
        # The lie takes the edit list with it, and so the encoder's delay stays in.
        assert len(music) - 1024 <= decoded(path).frames <= len(music) + 2 * 1024

    @pytest.mark.parametrize("seconds", [1, SECONDS * 3, 3600 * 24])
    def test_headers_that_lie_about_seconds_change_nothing(
        self, decoded: Decode, music: NDArray[np.float32], tmp_path: Path, seconds: int
    ) -> None:
        path = write_m4a(tmp_path / "a.m4a", music)
        content = bytearray(path.read_bytes())
        for box, offset in ((b"mvhd", 20), (b"tkhd", 24), (b"mdhd", 20)):
            scale = SAMPLE_RATE if box == b"mdhd" else 1000
            struct.pack_into(">I", content, content.index(box) + offset, seconds * scale)
        path.write_bytes(content)
        assert len(music) <= decoded(path).frames < len(music) + 1024

    def test_an_m4a_whose_table_claims_four_thousand_million_samples(
        self, decoded: Decode, music: NDArray[np.float32], tmp_path: Path
    ) -> None:
        path = write_m4a(tmp_path / "a.m4a", music)
        content = bytearray(path.read_bytes())
        place = content.index(b"stts") + 8
        count = struct.unpack_from(">I", content, place)[0]
        assert count < 10
        struct.pack_into(">I", content, place, 0xFFFFFFF0)
        path.write_bytes(content)
        with (
            PeakMemory() as peak,
            pytest.raises((AudioUndecodable, AudioTruncated, AudioTooLong, DecodeLimit)),
        ):
            decoded(path, decode_memory_bytes=1 << 30)
        assert peak.bytes < 1 << 30

    def test_the_clock_ends_it(
        self, decoded: Decode, music: NDArray[np.float32], tmp_path: Path
    ) -> None:
        soundfile.write(tmp_path / "a.flac", music, SAMPLE_RATE)
        assert "0.05 s" in refused(decoded, tmp_path / "a.flac", DecodeLimit, decode_seconds=0.05)

    def test_so_does_memory(
        self, decoded: Decode, music: NDArray[np.float32], tmp_path: Path
    ) -> None:
        soundfile.write(tmp_path / "a.flac", music, SAMPLE_RATE)
        with pytest.raises((DecodeLimit, AudioUndecodable)):
            decoded(tmp_path / "a.flac", decode_memory_bytes=64 << 20)


def _lie(path: Path, frames_per_packet: int) -> None:
    """Overwrite the duration of every packet (ISO 14496-12 section 8.6.1.2, stts)."""
    content = bytearray(path.read_bytes())
    table = content.index(b"stts") + 8
    for entry in range(struct.unpack_from(">I", content, table)[0]):
        struct.pack_into(">I", content, table + 8 + 8 * entry, frames_per_packet)
    # Without an edit list nothing else bounds the track.
    if b"elst" in content:
        place = content.index(b"edts")
        content[place : place + 4] = b"free"
    path.write_bytes(content)


def test_decoding_asks_for_its_own_permit(
    permit_for: Callable[..., Permit], music: NDArray[np.float32], tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "a.wav", music, SAMPLE_RATE)
    for permit in (permit_for("mix"), permit_for("ingest", seconds=-1)):
        with pytest.raises(PermitDenied):
            decode(permit, tmp_path / "a.wav", Settings())


def test_giving_up_ends_the_child(
    permit_for: Callable[..., Permit], music: NDArray[np.float32], tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "a.wav", np.tile(music, (100, 1)), SAMPLE_RATE)

    class GivenUp(Exception):
        pass

    def stop() -> None:
        raise GivenUp

    # Other tests of the same run may have left a child of their own (multiprocessing's tracker).
    before = set(psutil.Process().children())
    with pytest.raises(GivenUp):
        decode(permit_for("ingest"), tmp_path / "a.wav", Settings(), stop=stop)
    assert set(psutil.Process().children()) <= before

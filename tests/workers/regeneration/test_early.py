"""A part is heard while it is being made, and what is heard is what it will be."""

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from generator_fixtures import ClickCodec, clicks, tiny_generator
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from workers.regeneration.codecs import Codec
from workers.regeneration.codecs.bass import BassCodec, BassCodecConfig
from workers.regeneration.codecs.drums import DrumCodec, DrumCodecConfig
from workers.regeneration.codecs.interface import CodecError
from workers.regeneration.early import EarlySound, piece_seconds
from workers.regeneration.engine import Engine, GenerationCancelled, GenerationFailed
from workers.regeneration.request import GenerationRequest

HEARD_AGAIN = 1e-4


def drum_codec() -> Codec:
    torch.manual_seed(0)
    codec = DrumCodec(DrumCodecConfig(codebooks=2, codebook_size=32, low_bins=40))
    torch.nn.init.normal_(codec.tables)
    return codec.eval()


def bass_codec() -> Codec:
    torch.manual_seed(0)
    codec = BassCodec(BassCodecConfig())
    torch.nn.init.normal_(codec.tables)
    return codec.eval()


@pytest.fixture(scope="module", params=[drum_codec, bass_codec])
def codec(request: pytest.FixtureRequest) -> Codec:
    made: Codec = request.param()
    return made


def random_codes(codec: Codec, frames: int) -> Tensor:
    generator = torch.Generator().manual_seed(4)
    return torch.randint(
        min(codec.codebook_size, 96), (codec.codebooks, frames), generator=generator
    )


class Ear:
    """Hears pieces, and holds them to what a listener may expect."""

    def __init__(self, asks_for: int | None = None) -> None:
        self.asks_for = asks_for
        self.pieces: list[Tensor] = []
        self.first = threading.Event()

    def __call__(self, first: int, audio: Tensor) -> bool:
        assert first == sum(piece.shape[1] for piece in self.pieces), "no gap, no overlap"
        self.pieces.append(audio.clone())
        self.first.set()
        return self.asks_for is None or len(self.pieces) < self.asks_for

    @property
    def audio(self) -> Tensor:
        return torch.cat(self.pieces, dim=1)


def test_a_span_sounds_as_in_the_whole_decode(codec: Codec) -> None:
    codes = random_codes(codec, 400)
    whole = codec.decode(codes[None])
    for first, end in ((0, 1), (0, 100), (90, 170), (399, 400), (200, 400), (0, 400)):
        span = codec.decode_span(codes[None], first, end)
        there = whole[:, :, first * codec.hop : end * codec.hop]
        torch.testing.assert_close(span, there, atol=HEARD_AGAIN, rtol=0)


def test_frames_behind_the_margin_change_nothing(codec: Codec) -> None:
    codes = random_codes(codec, 300)
    other = codes.clone()
    other[:, 150 + codec.margin :] = 0
    made, changed = (codec.decode_span(each[None], 100, 150) for each in (codes, other))
    torch.testing.assert_close(made, changed, atol=HEARD_AGAIN, rtol=0)
    near = codes.clone()
    near[:, 150:] = (near[:, 150:] + 17) % min(codec.codebook_size, 96)
    assert not torch.allclose(codec.decode_span(near[None], 100, 150), made, atol=HEARD_AGAIN)


@pytest.mark.parametrize(("first", "end"), [(-1, 5), (5, 5), (6, 5), (0, 11)])
def test_a_span_that_is_none_is_refused(first: int, end: int) -> None:
    codec = ClickCodec()
    with pytest.raises(CodecError, match="do not lie"):
        codec.decode_span(torch.zeros(1, 3, 10, dtype=torch.int64), first, end)


@given(st.lists(st.integers(1, 90), min_size=1, max_size=30), st.integers(0, 3))
@settings(deadline=None, max_examples=30)
def test_however_it_becomes_known_it_is_heard_once_and_in_order(
    growth: list[int], seed: int
) -> None:
    codec = drum_codec()
    codes = random_codes(codec, sum(growth))
    samples = sum(growth) * codec.hop - 37
    ear = Ear()
    early = EarlySound(codec, samples, ear)
    known = 0
    for more in growth:
        known += more
        unknown = codes.clone()
        unknown[:, known:] = seed
        early.look(unknown, known)
    whole = codec.decode(codes[None])[0, :, :samples]
    torch.testing.assert_close(ear.audio, whole, atol=HEARD_AGAIN, rtol=0)


def test_pieces_grow_while_those_before_them_are_heard() -> None:
    lengths = [piece_seconds(number) for number in range(12)]
    assert lengths[0] <= 2.0
    assert lengths == sorted(lengths)
    assert lengths[-1] == 8.0


@pytest.fixture
def engine() -> Engine:
    return Engine(tiny_generator(), ClickCodec())


def asked(seconds: float = 12.0, candidates: int = 1) -> GenerationRequest:
    return GenerationRequest(clicks(seconds)[:, :-37], "rock", 3, candidates)


def test_it_is_heard_long_before_it_is_made_and_is_the_same(engine: Engine) -> None:
    ear = Ear()
    progress: list[float] = []
    handle = engine.submit(asked(), lambda first, audio: (
        progress.append(handle.progress), ear(first, audio))[-1])  # fmt: skip
    made = handle.result(120)
    assert len(ear.pieces) >= 3
    assert torch.equal(ear.audio, made.audio)
    assert progress[0] < 0.5
    engine.close()


def test_who_has_heard_enough_hears_no_more(engine: Engine) -> None:
    ear = Ear(asks_for=2)
    made = engine.submit(asked(), ear).result(120)
    assert len(ear.pieces) == 2
    assert torch.equal(ear.audio, made.audio[:, : ear.audio.shape[1]])
    engine.close()


def test_of_several_candidates_the_first_is_heard(engine: Engine) -> None:
    ear = Ear()
    several = engine.submit(asked(5.0, candidates=3), ear).result(120)
    alone = engine.submit(asked(5.0, candidates=1)).result(120)
    assert torch.equal(ear.audio, alone.audio)
    assert several.audio.shape == alone.audio.shape
    engine.close()


def test_what_is_kept_is_heard_as_it_stands(engine: Engine) -> None:
    codes = torch.full((3, 250), 11)
    mask = torch.ones(250, dtype=torch.bool)
    mask[200:220] = False
    ear = Ear()
    request = replace(asked(5.0), kept_codes=codes, kept_mask=mask)
    made = engine.submit(request, ear).result(120)
    assert torch.equal(ear.audio, made.audio)
    engine.close()


@pytest.mark.parametrize(
    ("raised", "seen"), [(OSError("no disk"), GenerationFailed), (None, GenerationCancelled)]
)
def test_who_listens_and_breaks_ends_that_job_alone(
    engine: Engine, raised: Exception | None, seen: type[Exception]
) -> None:
    hold: list[Callable[[], None]] = []

    def listen(first: int, audio: Tensor) -> bool:
        if raised is not None:
            raise raised
        hold[0]()
        return True

    other = engine.submit(asked(5.0))
    handle = engine.submit(asked(), listen)
    hold.append(handle.cancel)
    with pytest.raises(seen):
        handle.result(120)
    assert other.result(120).codes.shape == (3, 250)
    assert engine.load.taken == 0
    engine.close()

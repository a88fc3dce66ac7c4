"""Separation: real Demucs classes, tiny and random, through the registry and back."""

import hashlib
import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from demucs.apply import apply_model
from demucs.hdemucs import HDemucs
from demucs.htdemucs import HTDemucs
from numpy.typing import NDArray
from safetensors.torch import save_file

from checkpoints import registry
from service.permit import Permit, PermitDenied
from workers.audio import SAMPLE_RATE, Audio
from workers.separation import Separator, SeparatorInvalid, load_separator, separate
from workers.separation.separator import OVERLAP, SeparationRateMismatch

PermitFor = Callable[..., Permit]
SOURCES = ["drums", "bass", "other", "vocals"]
TINY: dict[str, Any] = {
    "sources": SOURCES,
    "channels": 4,
    "depth": 3,
    "nfft": 1024,
    "hybrid": False,
    "cac": False,
    "wiener_iters": -1,
    "end_iters": -1,
    "dconv_lstm": 9,
    "dconv_attn": 9,
    "freq_emb": 0,
    "segment": 1,
}
CARD = """
name = "tiny"
role = "separator"
title = "Tiny and random"
licence = "Apache-2.0"
commercial_use = true
bundled = true
sources = ["drums", "bass", "other", "vocals"]
training_data = "None."
intended_use = "Tests."
limits = "Random."
"""


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """A sealed card for what lies in `tmp_path/tiny`, opened."""
    monkeypatch.setenv("REPRISE_CARDS", str(tmp_path))
    (tmp_path / "tiny").mkdir()

    def open_it() -> registry.OpenCheckpoint:
        text = CARD
        for path in sorted((tmp_path / "tiny").iterdir()):
            content = path.read_bytes()
            text += f'\n[files."{path.name}"]\n'
            text += f'sha256 = "{hashlib.sha256(content).hexdigest()}"\nbytes = {len(content)}\n'
        (tmp_path / "tiny.toml").write_text(text)
        return registry.open("tiny", commercial=True)

    return open_it


@pytest.fixture
def model() -> HDemucs:
    torch.manual_seed(7)
    return HDemucs(**TINY).eval()


@pytest.fixture
def separator(checkpoint: Callable[[], Any], model: HDemucs, tmp_path: Path) -> Separator:
    export(tmp_path / "tiny", model)
    return load_separator(checkpoint(), device="cpu")


def export(folder: Path, model: HDemucs) -> None:
    """The bundled layout: half precision weights beside the constructor's arguments."""
    state = {name: value.half().contiguous() for name, value in model.state_dict().items()}
    save_file(state, folder / "model.safetensors")
    config = {"class": "HDemucs", "kwargs": TINY}
    (folder / "config.json").write_text(json.dumps(config))


def mixture(seconds: float, seed: int = 0) -> Audio:
    random = np.random.default_rng(seed)
    samples: NDArray[np.float32] = (
        0.1 * random.standard_normal((2, int(seconds * SAMPLE_RATE)))
    ).astype(np.float32)
    return Audio(samples, SAMPLE_RATE)


@pytest.fixture
def permit(permit_for: PermitFor, separator: Separator) -> Permit:
    return permit_for("separate", {separator.name: separator.digest})


def test_stems_are_exactly_what_the_model_gives(
    permit: Permit, separator: Separator, model: HDemucs
) -> None:
    audio = mixture(2.5)
    stems = separate(permit, audio, separator)
    assert list(stems) == SOURCES
    half = {name: value.half().float() for name, value in model.state_dict().items()}
    model.load_state_dict(half)
    waveform = torch.from_numpy(audio.samples)
    reference = waveform.mean(0)
    deviation = reference.std(correction=0) + 1e-8
    scaled = (waveform - reference.mean()) / deviation
    expected = apply_model(model, scaled[None], shifts=0, overlap=OVERLAP, segment=1.0)[0]
    expected = expected * deviation + reference.mean()
    for name, given in zip(SOURCES, expected.numpy(), strict=True):
        assert stems[name].samples.shape == audio.samples.shape
        assert np.array_equal(stems[name].samples, given)


def test_it_repeats_to_the_bit(permit: Permit, separator: Separator) -> None:
    first = separate(permit, mixture(1.7), separator)
    torch.manual_seed(99)
    second = separate(permit, mixture(1.7), separator)
    for name in SOURCES:
        assert np.array_equal(first[name].samples, second[name].samples)


@pytest.mark.parametrize("frames", [1, 1000, 39_690, 39_691, SAMPLE_RATE + 1])
def test_any_length_comes_back_as_long(permit: Permit, separator: Separator, frames: int) -> None:
    audio = Audio(mixture(1.1).samples[:, :frames].copy(), SAMPLE_RATE)
    for stem in separate(permit, audio, separator).values():
        assert stem.samples.shape == (2, frames)
        assert np.isfinite(stem.samples).all()


def test_silence_is_no_trouble(permit: Permit, separator: Separator) -> None:
    silence = Audio(np.zeros((2, SAMPLE_RATE), dtype=np.float32), SAMPLE_RATE)
    for stem in separate(permit, silence, separator).values():
        assert np.abs(stem.samples).max() < 1e-3


def test_progress_grows_to_one(permit: Permit, separator: Separator) -> None:
    seen: list[float] = []
    separate(permit, mixture(4), separator, progress=seen.append)
    assert len(seen) == 5  # segments of 1 s that overlap by a tenth
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


def test_it_stops_between_two_segments(permit: Permit, separator: Separator) -> None:
    class Stopped(Exception):
        pass

    calls = 0

    def stop() -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise Stopped

    seen: list[float] = []
    with pytest.raises(Stopped):
        separate(permit, mixture(8), separator, progress=seen.append, stop=stop)
    assert len(seen) == 2


def test_the_model_never_sees_more_than_a_segment(
    permit: Permit, separator: Separator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Activations are the memory that matters; they grow with what the model is given at once."""
    lengths: list[int] = []
    forward = separator.model.forward

    def watched(mix: torch.Tensor) -> torch.Tensor:
        lengths.append(mix.shape[-1])
        return forward(mix)

    monkeypatch.setattr(separator.model, "forward", watched)
    separate(permit, mixture(6), separator)
    assert max(lengths) <= SAMPLE_RATE
    assert all(parameter.dtype == torch.float32 for parameter in separator.model.parameters())


class TestRefusals:
    def test_another_stages_permit(self, permit_for: PermitFor, separator: Separator) -> None:
        with pytest.raises(PermitDenied):
            separate(permit_for("mix", {separator.name: separator.digest}), mixture(1), separator)

    @pytest.mark.parametrize("named", [{}, {"tiny": "0" * 64}, {"other": "0" * 64}])
    def test_weights_that_the_permit_does_not_name(
        self, permit_for: PermitFor, separator: Separator, named: dict[str, str]
    ) -> None:
        with pytest.raises(PermitDenied, match="tiny"):
            separate(permit_for("separate", named), mixture(1), separator)

    def test_another_rate(self, permit: Permit, separator: Separator) -> None:
        with pytest.raises(SeparationRateMismatch, match="48000"):
            separate(permit, Audio(mixture(1).samples, 48_000), separator)

    @pytest.mark.parametrize(
        "config",
        [
            {"class": "os.system", "kwargs": {}},
            {"class": "HDemucs", "kwargs": {**TINY, "channels": 5}},
            {"class": "HDemucs", "kwargs": {**TINY, "sources": ["drums", "bass"]}},
            {"class": "HDemucs", "kwargs": {**TINY, "surprise": 1}},
            {"kwargs": TINY},
            [],
        ],
        ids=["class", "shapes", "sources", "argument", "nothing", "list"],
    )
    def test_a_config_that_does_not_fit(
        self,
        checkpoint: Callable[[], Any],
        model: HDemucs,
        tmp_path: Path,
        config: Any,
    ) -> None:
        export(tmp_path / "tiny", model)
        (tmp_path / "tiny" / "config.json").write_text(json.dumps(config))
        with pytest.raises(SeparatorInvalid, match="tiny"):
            load_separator(checkpoint(), device="cpu")


class TestDemucsOwnLayout:
    """The single file in which demucs 4.1 publishes htdemucs: everything in its metadata."""

    KWARGS = {
        "sources": SOURCES,
        "channels": 4,
        "depth": 4,
        "nfft": 1024,
        "dconv_comp": 2,
        "bottom_channels": 0,
        "t_layers": 1,
        "t_heads": 2,
        "segment": {"_type": "fraction", "numerator": 1, "denominator": 2},
    }

    def export(self, folder: Path, klass: str, **metadata: str) -> HTDemucs:
        torch.manual_seed(1)
        built: dict[str, Any] = {**self.KWARGS, "segment": Fraction(1, 2)}
        model = HTDemucs(**built).eval()
        save_file(
            {name: value.half().contiguous() for name, value in model.state_dict().items()},
            folder / "955717e8.safetensors",
            metadata={
                "klass": klass,
                "args": "[]",
                "kwargs": json.dumps(self.KWARGS),
                **metadata,
            },
        )
        return model

    def test_it_loads_and_separates(
        self, checkpoint: Callable[[], Any], permit_for: PermitFor, tmp_path: Path
    ) -> None:
        self.export(tmp_path / "tiny", "demucs.htdemucs.HTDemucs")
        separator = load_separator(checkpoint(), device="cpu")
        assert separator.segment == 0.5
        permit = permit_for("separate", {separator.name: separator.digest})
        stems = separate(permit, mixture(1.3), separator)
        assert all(stem.frames == int(1.3 * SAMPLE_RATE) for stem in stems.values())

    @pytest.mark.parametrize(
        ("klass", "metadata"),
        [("subprocess.Popen", {}), ("demucs.htdemucs.HTDemucs", {"structure": "{}"})],
    )
    def test_a_class_off_the_list_is_never_imported(
        self,
        checkpoint: Callable[[], Any],
        tmp_path: Path,
        klass: str,
        metadata: dict[str, str],
    ) -> None:
        self.export(tmp_path / "tiny", klass, **metadata)
        with pytest.raises(SeparatorInvalid, match="not on the list"):
            load_separator(checkpoint(), device="cpu")

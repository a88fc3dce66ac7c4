"""The models of a process: loaded once, unloaded when idle, back on demand."""

import hashlib
import json
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from checkpoints import registry
from checkpoints.errors import CheckpointInvalid
from service.permit import Permit
from service.settings import Settings
from tests.tiny_checkpoints import write_tiny_checkpoints
from workers import models as models_module
from workers.devices import DeviceAbsent
from workers.models import Models
from workers.regeneration.engine import Engine, EngineClosed
from workers.regeneration.request import GenerationRequest

NAMES = ("tiny-drums", "tiny-drums-codec", "tiny-separator")


@pytest.fixture
def permit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, permit_for: Callable[..., Permit]
) -> Permit:
    monkeypatch.setenv("REPRISE_CARDS", str(write_tiny_checkpoints(tmp_path / "cards")))
    return permit_for("regenerate", {name: registry.card(name).digest for name in NAMES})


def engine_of(models: Models, permit: Permit) -> Engine:
    return models.engine(permit, "tiny-drums", commercial=False)


def asked(engine: Engine, seconds: float = 2.0) -> GenerationRequest:
    context = torch.sin(torch.arange(round(seconds * engine.sample_rate)) / 20.0)[None]
    return GenerationRequest(context, "rock", seed=1, candidates=1)


def test_many_threads_that_ask_at_once_load_once(
    permit: Permit, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []
    told = models_module.log.info
    monkeypatch.setattr(
        models_module.log, "info", lambda event, **said: loaded.append(event) or told(event, **said)
    )
    models, got = Models(), []
    threads = [
        threading.Thread(target=lambda: got.append(engine_of(models, permit))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(got) == 8
    assert len({id(engine) for engine in got}) == 1
    assert loaded == ["checkpoint_loaded"]
    got[0].close()


def test_an_idle_model_goes_and_comes_back_the_same(
    permit: Permit, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = Models(idle_seconds=600.0)
    engine = engine_of(models, permit)
    models.separator(permit, "tiny-separator", commercial=False)
    before = engine.submit(asked(engine)).result(60)
    assert models.unload_idle() == []
    later = time.monotonic() + 601.0
    monkeypatch.setattr(models_module.time, "monotonic", lambda: later)
    assert set(models.unload_idle()) == {"tiny-drums", "tiny-separator"}
    with pytest.raises(EngineClosed):
        engine.submit(asked(engine))
    again = engine_of(models, permit)
    assert again is not engine
    assert torch.equal(again.submit(asked(again)).result(60).audio, before.audio)
    again.close()


def test_an_engine_with_a_job_is_not_idle(permit: Permit) -> None:
    models = Models(idle_seconds=0.0)
    engine = engine_of(models, permit)
    entered, go = threading.Event(), threading.Event()
    advance = engine._batch.advance

    def held() -> list[object]:
        entered.set()
        assert go.wait(30)
        return advance()  # type: ignore[return-value]

    engine._batch.advance = held  # type: ignore[method-assign, assignment]
    handle = engine.submit(asked(engine))
    assert entered.wait(30)
    assert models.unload_idle() == []
    go.set()
    handle.result(60)
    deadline = time.monotonic() + 10
    while not models.unload_idle():
        assert time.monotonic() < deadline
    with pytest.raises(EngineClosed):
        engine.submit(asked(engine))


def test_the_operators_choice_reaches_the_engine(permit: Permit) -> None:
    models = Models({"rows": 7, "precision": "bfloat16"})
    engine = engine_of(models, permit)
    assert (engine.load.rows, engine.decoder.precision) == (7, "bfloat16")
    assert engine.submit(asked(engine)).result(60).audio.isfinite().all()
    engine.close()


def test_the_operators_device_is_that_of_all_models(permit: Permit) -> None:
    models = Models(device="cpu")
    engine = engine_of(models, permit)
    separator = models.separator(permit, "tiny-separator", commercial=False)
    assert {engine.decoder.device, engine.codec.device, separator.device} == {torch.device("cpu")}
    engine.close()
    there_is_none = f"cuda:{torch.cuda.device_count()}"
    absent = Models(device=there_is_none)
    with pytest.raises(DeviceAbsent):
        engine_of(absent, permit)
    with pytest.raises(DeviceAbsent):
        engine_of(Models(device="cpu", engine_device=there_is_none), permit)
    apart = Models(device=there_is_none, engine_device="cpu")
    engine_of(apart, permit).close()
    with pytest.raises(DeviceAbsent):
        absent.separator(permit, "tiny-separator", commercial=False)


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "meta", ""])
def test_a_device_that_is_none_is_refused_in_the_settings(device: str) -> None:
    with pytest.raises(ValidationError):
        Settings(device=device)
    with pytest.raises(ValidationError):
        Settings(engine_device=device)


def test_idle_models_are_looked_for_in_the_background(permit: Permit) -> None:
    models = Models(idle_seconds=0.2)
    engine = engine_of(models, permit)
    models.watch_idle()
    deadline = time.monotonic() + 20
    while True:
        try:
            engine.submit(asked(engine, 1.0)).cancel()
        except EngineClosed:
            break
        assert time.monotonic() < deadline
        time.sleep(0.3)


def rewritten(cards: Path, name: str, **changed: object) -> None:
    """A card that says something else of the same files."""
    path = cards / f"{name}.toml"
    text = path.read_text()
    for key, value in changed.items():
        text = re.sub(rf"^{key} = .*$", f"{key} = {json.dumps(value)}", text, flags=re.MULTILINE)
    path.write_text(text)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"styles": ["rock", "polka"]}, "styles polka"),
        ({"controls": ["swing"]}, "controls swing"),
        ({"parts": ["bass"]}, "part bass"),
    ],
)
def test_weights_that_are_not_what_the_card_says_are_refused_by_name(
    permit: Permit, tmp_path: Path, changed: dict[str, object], said: str
) -> None:
    rewritten(tmp_path / "cards", "tiny-drums", **changed)
    with pytest.raises(CheckpointInvalid, match=f"tiny-drums: .*{said}"):
        engine_of(Models(), permit)


def test_weights_whose_shapes_do_not_fit_are_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, permit_for: Callable[..., Permit]
) -> None:
    cards = write_tiny_checkpoints(tmp_path / "cards")
    monkeypatch.setenv("REPRISE_CARDS", str(cards))
    weights = cards / "tiny-drums" / "model.safetensors"
    before = hashlib.sha256(weights.read_bytes()).hexdigest()
    size = weights.stat().st_size
    state = load_file(weights)
    state["style.weight"] = state["style.weight"][:, :-1].contiguous()
    save_file(state, weights)
    card = cards / "tiny-drums.toml"
    text = card.read_text().replace(before, hashlib.sha256(weights.read_bytes()).hexdigest())
    card.write_text(text.replace(f"bytes = {size}", f"bytes = {weights.stat().st_size}"))
    named = permit_for("regenerate", {name: registry.card(name).digest for name in NAMES})
    with pytest.raises(CheckpointInvalid, match=r"tiny-drums: .*style\.weight"):
        engine_of(Models(), named)


def test_there_are_no_more_rows_than_the_memory_holds(permit: Permit) -> None:
    whole = engine_of(Models({"rows": 40}), permit)
    each = whole._batch.cache.bytes // 40
    small = engine_of(Models({"rows": 40, "memory_bytes": 10 * each + 1}), permit)
    assert (whole.load.rows, small.load.rows) == (40, 10)
    with pytest.raises(CheckpointInvalid, match="a row takes"):
        engine_of(Models({"memory_bytes": each - 1}), permit)
    whole.close()
    small.close()

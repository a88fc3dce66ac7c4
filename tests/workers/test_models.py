"""The models of a process: loaded once, unloaded when idle, back on demand."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from checkpoints import registry
from service.permit import Permit
from tests.tiny_checkpoints import write_tiny_checkpoints
from workers import models as models_module
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

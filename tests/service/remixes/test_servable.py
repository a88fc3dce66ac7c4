"""What can never be made is refused when it is asked for: nothing is queued, counted or owed."""

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx import Response
from safetensors.numpy import load_file, save_file

from checkpoints.limits import LONGEST_S
from service.consent.models import QuotaUse, TokenUse
from service.jobs.models import Event, IdempotencyRecord, Job, OutboxRow
from tests.jobs_house import LISTENER, House
from tests.stories import Granted
from tests.tiny_checkpoints import write_tiny_checkpoints

ROWS = (Job, OutboxRow, Event, IdempotencyRecord, TokenUse, QuotaUse)
Ask = Callable[..., Response]


@pytest.fixture
def cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = write_tiny_checkpoints(tmp_path / "tiny-cards")
    monkeypatch.setenv("REPRISE_CARDS", str(folder))
    return folder


@pytest.fixture
def granted(cards: Path, house: House) -> Granted:
    return house.grant(
        styles=["rock"],
        checkpoints=["tiny-drums", "tiny-separator"],
        tempo_percent={"min": -25, "max": 25},
    )


@pytest.fixture
def ask(client: TestClient, house: House, granted: Granted) -> Ask:
    def send(**choices: Any) -> Response:
        return client.post(
            "/v1/remixes",
            content=json.dumps(
                {"template_id": granted.template_id, "choices": {"style": "rock", **choices}}
            ),
            headers={
                **house.story.headers(LISTENER),
                "Idempotency-Key": "one",
                "Content-Type": "application/json",
            },
        )

    return send


def refused(house: House, answer: Response) -> tuple[int, str, str]:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    assert {table: house.count(table) for table in ROWS} == dict.fromkeys(ROWS, 0)
    document = answer.json()
    assert document["limit"]
    assert document["changed_by"]
    return answer.status_code, document["type"], document["detail"]


def sealed(cards: Path, name: str, file: str, before: bytes) -> None:
    """The card's hash and size of a file that was changed, as whoever changed it would seal it."""
    now = (cards / name / file).read_bytes()
    card = cards / f"{name}.toml"
    text = card.read_text().replace(
        hashlib.sha256(before).hexdigest(), hashlib.sha256(now).hexdigest()
    )
    card.write_text(text.replace(f"bytes = {len(before)}", f"bytes = {len(now)}"))


def reshape(cards: Path, name: str, tensor: str) -> None:
    weights = cards / name / "model.safetensors"
    before, state = weights.read_bytes(), load_file(weights)
    state[tensor] = state[tensor][..., :-1].copy()
    save_file(state, weights)
    sealed(cards, name, "model.safetensors", before)


def rewrite(cards: Path, name: str, change: Callable[[dict[str, Any]], object]) -> None:
    path = cards / name / "config.json"
    before = path.read_bytes()
    config = json.loads(before)
    change(config)
    path.write_text(json.dumps(config))
    sealed(cards, name, "config.json", before)


def test_a_checkpoint_that_fits_its_card_is_taken(ask: Ask) -> None:
    assert ask().status_code == 202


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("tiny-drums", "style.weight"),
        ("tiny-drums-codec", "gather.weight"),
        ("tiny-separator", "encoder.0.conv.weight"),
    ],
)
def test_weights_whose_shapes_do_not_fit_are_refused_by_name(
    cards: Path, house: House, ask: Ask, name: str, tensor: str
) -> None:
    reshape(cards, name, tensor)
    status, slug, detail = refused(house, ask())
    assert (status, slug) == (500, "/problems/checkpoint-invalid")
    assert detail.startswith(f"{name}: {tensor} is [")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c.update(styles=["polka", "house"]), "styles rock"),
        (lambda c: c.update(part="bass"), "part drums"),
        (lambda c: c.update(layers=3), "layers.2"),
        (lambda c: c.update(width="wide"), "width must be"),
        (lambda c: c.pop("context"), "context"),
        (lambda c: c.update(sampling={"guidance_context": float("nan")}), "guidance_context"),
        (lambda c: c.update(sampling={"guidance_context": 0.0}), "guidance_context"),
        (lambda c: c.update(sampling={"top_k": 1.5}), "top_k"),
        (lambda c: c.update(sampling={"wish": 1}), "wish"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(
    cards: Path, house: House, ask: Ask, change: Callable[[dict[str, Any]], object], said: str
) -> None:
    rewrite(cards, "tiny-drums", change)
    status, slug, detail = refused(house, ask())
    assert (status, slug) == (500, "/problems/checkpoint-invalid")
    assert detail.startswith("tiny-drums: ")
    assert said in detail


def test_a_codec_of_other_codes_is_refused(cards: Path, house: House, ask: Ask) -> None:
    weights = cards / "tiny-drums-codec" / "model.safetensors"
    before, state = weights.read_bytes(), load_file(weights)
    state["tables"] = state["tables"][:1].copy()
    save_file(state, weights)
    sealed(cards, "tiny-drums-codec", "model.safetensors", before)
    rewrite(cards, "tiny-drums-codec", lambda c: c.update(codebooks=1))
    _, slug, detail = refused(house, ask())
    assert slug == "/problems/checkpoint-invalid"
    assert "speaks 2 codebooks of 32 codes, tiny-drums-codec 1" in detail


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c["kwargs"].update(sources=["drums", "bass"]), "the config says"),
        (lambda c: c["kwargs"].update(sources=["a", "b", "c", "d"]), "gives a, b, c, d"),
        (lambda c: c["kwargs"].update(depth=9), "decoder.8.conv_tr.weight is missing"),
        (lambda c: c["kwargs"].pop("sources"), "sources"),
        (lambda c: c.update(kwargs=[]), "names no class"),
        (lambda c: c.update({"class": "Popen"}), "unknown class 'Popen'"),
    ],
)
def test_a_separator_that_does_not_fit_is_refused(
    cards: Path, house: House, ask: Ask, change: Callable[[dict[str, Any]], object], said: str
) -> None:
    rewrite(cards, "tiny-separator", change)
    status, slug, detail = refused(house, ask())
    assert (status, slug) == (500, "/problems/checkpoint-invalid")
    assert detail.startswith("tiny-separator: ")
    assert said in detail


def in_one_file(cards: Path, **metadata: str) -> None:
    """The separator as demucs publishes its models."""
    place, card = cards / "tiny-separator", cards / "tiny-separator.toml"
    config, state = json.loads((place / "config.json").read_text()), place / "model.safetensors"
    told = {"klass": "demucs.hdemucs.HDemucs", "args": "[]", "kwargs": json.dumps(config["kwargs"])}
    save_file(load_file(state), place / "955717e8.safetensors", metadata={**told, **metadata})
    written = (place / "955717e8.safetensors").read_bytes()
    stated = card.read_text()
    stated = stated[: stated.index("[files.")] + (
        '[files."955717e8.safetensors"]\n'
        f'sha256 = "{hashlib.sha256(written).hexdigest()}"\nbytes = {len(written)}\n'
    )
    card.write_text(stated)


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({"kwargs": '{"sources": ["drums"]}'}, "decoder.5.conv_tr.weight is "),
        ({"kwargs": "{}"}, "its config is not one of ours"),
        ({"kwargs": "{"}, "cannot be read"),
        ({"klass": "elsewhere.HDemucs"}, "elsewhere.HDemucs, which is not on the list"),
        ({"structure": "{}"}, "not on the list"),
    ],
)
def test_a_separator_in_one_file_is_read_too(
    cards: Path, house: House, ask: Ask, metadata: dict[str, str], said: str
) -> None:
    in_one_file(cards, **metadata)
    status, slug, detail = refused(house, ask())
    assert (status, slug) == (500, "/problems/checkpoint-invalid")
    assert detail.startswith("tiny-separator: ")
    assert said in detail


def test_a_separator_in_one_file_that_fits_is_taken(cards: Path, ask: Ask) -> None:
    in_one_file(cards)
    assert ask().status_code == 202


def test_a_separator_that_nobody_needs_is_not_looked_at(
    cards: Path, house: House, granted: Granted, ask: Ask
) -> None:
    rewrite(cards, "tiny-separator", lambda c: c.update({"class": "Popen"}))
    house.story.give_stem(granted.track_id, "drums")
    assert ask().status_code == 202


def test_weights_that_were_cut_off_are_refused(cards: Path, house: House, ask: Ask) -> None:
    weights = cards / "tiny-drums" / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-10])
    assert refused(house, ask())[1] == "/problems/checkpoint-hash-mismatch"
    sealed(cards, "tiny-drums", "model.safetensors", whole)
    assert refused(house, ask())[1] == "/problems/checkpoint-invalid"


def test_another_config_than_the_cards_is_refused(cards: Path, house: House, ask: Ask) -> None:
    config = cards / "tiny-drums" / "config.json"
    config.write_text(config.read_text().replace("rock", "punk"))
    assert refused(house, ask())[1] == "/problems/checkpoint-hash-mismatch"


def test_an_api_without_the_weights_takes_what_a_worker_may_have(cards: Path, ask: Ask) -> None:
    (cards / "tiny-drums" / "model.safetensors").unlink()
    assert ask().status_code == 202


def test_a_checkpoint_that_was_mended_is_taken(cards: Path, house: House, ask: Ask) -> None:
    weights, card = cards / "tiny-drums" / "model.safetensors", cards / "tiny-drums.toml"
    sound, text = weights.read_bytes(), card.read_text()
    reshape(cards, "tiny-drums", "style.weight")
    refused(house, ask())
    weights.write_bytes(sound)
    card.write_text(text)
    assert ask().status_code == 202


@pytest.mark.parametrize(
    ("seconds", "tempo"), [(LONGEST_S + 1, 0), (1000.0, -25), (0.9, 0), (1.2, 25)]
)
def test_a_song_that_no_generator_serves_is_refused(
    house: House, granted: Granted, ask: Ask, seconds: float, tempo: float
) -> None:
    house.story.set_track(granted.track_id, duration_seconds=seconds)
    status, slug, detail = refused(house, ask(tempo_percent=tempo))
    assert (status, slug) == (422, "/problems/length-not-supported")
    assert f"{seconds / (1 + tempo / 100):.1f} s" in detail


def test_the_longest_song_is_taken(house: House, granted: Granted, ask: Ask) -> None:
    house.story.set_track(granted.track_id, duration_seconds=LONGEST_S)
    assert ask().status_code == 202


@pytest.mark.parametrize(
    "choices",
    [
        {"guidance": float("nan")},
        {"guidance": float("inf")},
        {"guidance": -1.0},
        {"candidates": 0},
        {"temperature": float("nan")},
    ],
)
def test_numbers_that_are_none_and_dials_that_are_nobodys_are_refused(
    house: House, ask: Ask, choices: dict[str, Any]
) -> None:
    status, slug, _ = refused(house, ask(**choices))
    assert (status, slug) == (422, "/problems/invalid-request")


def test_no_model_is_loaded_to_know_it(cards: Path) -> None:
    script = (
        "import sys\n"
        "from checkpoints import registry\n"
        "from checkpoints.fitting import require_fitting\n"
        "require_fitting(registry.card('tiny-drums'))\n"
        "assert not {'torch', 'transformers', 'demucs'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_an_unreadable_config_says_which(cards: Path, house: House, ask: Ask) -> None:
    config = cards / "tiny-drums" / "config.json"
    before = config.read_bytes()
    config.write_text(re.sub(r"}$", "", config.read_text()))
    sealed(cards, "tiny-drums", "config.json", before)
    _, slug, detail = refused(house, ask())
    assert slug == "/problems/checkpoint-invalid"
    assert "config.json cannot be read" in detail

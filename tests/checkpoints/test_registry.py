"""A checkpoint opens only if it is whole, verified, unpickled and licensed for the use."""

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from checkpoints import registry
from checkpoints.errors import (
    CardInvalid,
    CheckpointHashMismatch,
    CheckpointLicence,
    CheckpointNotPulled,
    CheckpointPickleRefused,
    CheckpointUnsealed,
    UnknownCheckpoint,
)

WriteCard = Callable[..., Path]


def place(operator_cards: Path, name: str, files: dict[str, bytes]) -> None:
    (operator_cards / name).mkdir()
    for file_name, content in files.items():
        (operator_cards / name / file_name).write_bytes(content)


def test_a_verified_checkpoint_opens(
    operator_cards: Path, write_card: WriteCard, weights: bytes
) -> None:
    write_card("small", {"model.safetensors": weights, "config.json": b"{}"}, bundled=True)
    place(operator_cards, "small", {"model.safetensors": weights, "config.json": b"{}"})
    opened = registry.open("small", commercial=True)
    assert opened.files["model.safetensors"].read_bytes() == weights
    assert opened.files["config.json"].read_bytes() == b"{}"
    assert registry.state(opened.card) == "bundled"


def test_one_flipped_bit_is_refused_and_told(
    operator_cards: Path, write_card: WriteCard, weights: bytes
) -> None:
    write_card("small", {"model.safetensors": weights}, bundled=True)
    changed = bytearray(weights)
    changed[-1] ^= 1
    place(operator_cards, "small", {"model.safetensors": bytes(changed)})
    with pytest.raises(CheckpointHashMismatch, match=r"model\.safetensors has SHA-256"):
        registry.open("small", commercial=False)


@pytest.mark.parametrize("name", ["model.th", "model.pt", "model.bin", "model.pkl", "model.ckpt"])
def test_pickles_are_refused_by_name(write_card: WriteCard, weights: bytes, name: str) -> None:
    write_card("small", {name: weights}, bundled=True)
    with pytest.raises(CheckpointPickleRefused, match="safetensors"):
        registry.open("small", commercial=False)


def torch_zip() -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}))
    return sink.getvalue()


@pytest.mark.parametrize("content", [torch_zip(), pickle.dumps({"a": 1}), b"\x00" * 64, b""])
def test_pickles_are_refused_by_content_even_with_the_right_hash(
    operator_cards: Path, write_card: WriteCard, content: bytes
) -> None:
    write_card("small", {"model.safetensors": content}, bundled=True)
    place(operator_cards, "small", {"model.safetensors": content})
    with pytest.raises(CheckpointPickleRefused, match="not loaded"):
        registry.open("small", commercial=False)


def test_a_licence_against_commercial_use_is_kept(
    operator_cards: Path, write_card: WriteCard, weights: bytes
) -> None:
    write_card(
        "small", {"model.safetensors": weights}, bundled=True, licence="CC-BY-NC-4.0",
        commercial=False,
    )  # fmt: skip
    place(operator_cards, "small", {"model.safetensors": weights})
    assert registry.open("small", commercial=False).card.licence == "CC-BY-NC-4.0"
    with pytest.raises(CheckpointLicence, match=r"CC-BY-NC-4\.0"):
        registry.open("small", commercial=True)


def test_absent_files_say_how_to_get_them(write_card: WriteCard, weights: bytes) -> None:
    write_card("small", {"model.safetensors": weights})
    with pytest.raises(CheckpointNotPulled, match="reprise models pull small"):
        registry.open("small", commercial=False)


def test_without_a_pinned_hash_nothing_opens(
    operator_cards: Path, write_card: WriteCard, weights: bytes
) -> None:
    write_card("small", {"model.safetensors": None}, bundled=True)
    place(operator_cards, "small", {"model.safetensors": weights})
    with pytest.raises(CheckpointUnsealed):
        registry.open("small", commercial=False)


def test_unknown_names_list_the_known() -> None:
    with pytest.raises(UnknownCheckpoint, match="reprise-separator"):
        registry.open("../../etc/passwd", commercial=False)


def test_the_digest_names_the_weights_and_nothing_else(
    write_card: WriteCard, weights: bytes
) -> None:
    write_card("one", {"model.safetensors": weights})
    write_card("two", {"model.safetensors": weights}, licence="MIT")
    write_card("three", {"model.safetensors": weights + b"x"})
    assert registry.card("one").digest == registry.card("two").digest
    assert registry.card("one").digest != registry.card("three").digest


def test_an_operators_card_takes_the_place_of_ours(write_card: WriteCard, weights: bytes) -> None:
    assert registry.card("musicgen-melody").licence == "CC-BY-NC-4.0"
    write_card("musicgen-melody", {"model.safetensors": weights}, licence="LicenseRef-Mine")
    assert registry.card("musicgen-melody").licence == "LicenseRef-Mine"


@pytest.mark.parametrize(
    "change",
    [
        ('role = "separator"', 'role = "oracle"'),
        ("commercial_use = true", 'commercial_use = "yes"'),
        ('limits = "Random numbers."', ""),
        ('[files."model.safetensors"]', '[files."../model.safetensors"]'),
        ('url = "https://', 'url = "http://'),
        ('name = "small"', 'name = "other"'),
        ('title = "A small one"', 'title = "A small one"\nsurprise = 1'),
        ('title = "A small one"', 'title = "A small one"\ncontrols = ["density"]'),
    ],
)
def test_a_card_that_is_wrong_is_refused(
    write_card: WriteCard, weights: bytes, change: tuple[str, str]
) -> None:
    path = write_card(
        "small", {"model.safetensors": weights}, urls={"model.safetensors": "https://x.test/m"}
    )
    text = path.read_text()
    assert change[0] in text
    path.write_text(text.replace(*change))
    with pytest.raises(CardInvalid, match=r"small\.toml"):
        registry.cards()


@pytest.mark.parametrize(
    ("controls", "words"),
    [
        ('["density", "loudness"]', "controls loudness: known are density, fills, swing"),
        ('["swing", "swing"]', "twice"),
        ('"swing"', "list of texts"),
        ("[true]", "list of texts"),
    ],
)
def test_a_generators_controls_are_known_ones(
    write_card: WriteCard, weights: bytes, controls: str, words: str
) -> None:
    path = write_card("small", {"model.safetensors": weights})
    text = path.read_text().replace('role = "separator"', 'role = "generator"')
    path.write_text(text.replace("sources", "parts"))
    assert registry.card("small").controls == ()
    path.write_text(text.replace("sources", 'controls = ["fills", "density"]\nparts'))
    assert registry.card("small").controls == ("fills", "density")
    path.write_text(text.replace("sources", f"controls = {controls}\nparts"))
    with pytest.raises(CardInvalid, match=words):
        registry.card("small")


class TestOurCards:
    def test_all_are_complete_and_honest(self) -> None:
        cards = {card.name: card for card in registry.cards()}
        assert {
            "reprise-separator", "reprise-drums-codec", "reprise-bass-codec", "reprise-drums",
            "reprise-bass", "htdemucs", "musicgen-melody",
        } <= set(cards)  # fmt: skip
        for card in cards.values():
            registry.require_loadable(card)
            for required in card.requires:
                assert required in cards
            if card.bundled:
                assert card.licence == "Apache-2.0"
                assert card.commercial_use
                assert "recordings of anyone" in card.training_data
        for name in ("htdemucs", "musicgen-melody"):
            assert not cards[name].commercial_use
        assert registry.card("facebook/musicgen-melody").name == "musicgen-melody"

    def test_htdemucs_is_pinned(self) -> None:
        assert registry.card("htdemucs").sealed


class TestSeparatorFor:
    @pytest.fixture(autouse=True)
    def _home(self, operator_cards: Path) -> None:
        pass

    def test_auto_is_the_bundled_one_until_htdemucs_is_pulled(self) -> None:
        assert registry.separator_for("auto", commercial=False).name == "reprise-separator"

    def test_auto_prefers_a_pulled_htdemucs_where_its_licence_allows(self) -> None:
        card = registry.card("htdemucs")
        folder = registry.folder(card)
        folder.mkdir(parents=True)
        for name in card.files:
            (folder / name).write_bytes(b"")
        assert registry.separator_for("auto", commercial=False).name == "htdemucs"
        assert registry.separator_for("auto", commercial=True).name == "reprise-separator"

    def test_a_named_one_must_be_a_separator(self) -> None:
        assert registry.separator_for("htdemucs", commercial=True).name == "htdemucs"
        with pytest.raises(CardInvalid, match="generator"):
            registry.separator_for("reprise-drums", commercial=False)

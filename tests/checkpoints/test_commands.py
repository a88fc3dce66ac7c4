"""`reprise models` and sealing."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from checkpoints import registry, seal
from checkpoints.commands import app
from checkpoints.errors import CardInvalid, CheckpointNotPulled

WriteCard = Callable[..., Path]


def test_the_list_names_licence_use_state_and_size() -> None:
    result = CliRunner().invoke(app, [])
    assert result.exit_code == 0
    lines = {line.split()[0]: line for line in result.stdout.splitlines() if line.strip()}
    assert {"name", "reprise-separator", "htdemucs", "musicgen-melody"} <= set(lines)
    assert "84.0 MB" in lines["htdemucs"]
    assert "separator" in lines["htdemucs"]
    assert " no " in lines["htdemucs"]
    assert "CC-BY-NC-4.0" in lines["musicgen-melody"]
    assert " yes " in lines["reprise-drums"]


def test_show_prints_the_card() -> None:
    result = CliRunner().invoke(app, ["show", "facebook/musicgen-melody"])
    assert result.exit_code == 0
    assert "CC-BY-NC-4.0" in result.stdout
    assert "training data" in result.stdout


@pytest.mark.parametrize(
    ("argv", "slug"),
    [
        (["pull", "htdemucs"], "checkpoint-licence"),
        (["pull", "musicgen-melody", "--non-commercial"], "checkpoint-unsealed"),
        (["pull", "nothing"], "unknown-checkpoint"),
    ],
)
def test_refusals_say_why_and_end_with_one(
    operator_cards: Path, argv: list[str], slug: str
) -> None:
    result = CliRunner().invoke(app, argv)
    assert result.exit_code == 1
    assert slug in result.stderr
    assert "Traceback" not in result.output


def test_pull_from_a_folder(write_card: WriteCard, weights: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(weights)
    write_card("small", {"model.safetensors": weights})
    result = CliRunner().invoke(app, ["pull", "small", "--from", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "verified" in result.stdout


_COLUMNS = {
    "control": {"mean": 0.0, "low": 0.0, "high": 0.1, "pieces": 64},
    "generated": {"mean": 8.12345, "low": 7.0, "high": 9.0, "pieces": 64},
}
QUALITY = {
    "rendered": [
        {"group": "separation", "measure": 'SDR of drums, "dB"', "bar": ">= 6", "met": True,
         "note": None, "columns": _COLUMNS},
        {"group": "drums", "measure": "density", "bar": None, "met": None, "note": None,
         "columns": _COLUMNS},
    ]
}  # fmt: skip


class TestSeal:
    @pytest.fixture
    def exported(self, operator_cards: Path, write_card: WriteCard, weights: bytes) -> Path:
        path = write_card("small", {"config.json": None, "model.safetensors": None}, bundled=True)
        path.write_text(path.read_text().replace("\n[files", '\nstyles = ["old"]\n\n[files', 1))
        (operator_cards / "small").mkdir()
        (operator_cards / "small" / "model.safetensors").write_bytes(weights)
        (operator_cards / "small" / "config.json").write_text(json.dumps({"styles": ["a", "b"]}))
        return path

    def test_it_pins_hashes_sizes_and_the_models_own_styles(
        self, exported: Path, weights: bytes
    ) -> None:
        sealed = seal.seal("small")
        spec = sealed.files["model.safetensors"]
        assert spec == registry.FileSpec(hashlib.sha256(weights).hexdigest(), len(weights))
        assert sealed.styles == ("a", "b")
        assert registry.open("small", commercial=True).card.digest == sealed.digest
        again = exported.read_text()
        seal.seal("small")
        assert exported.read_text() == again

    def test_controls_are_the_models_own(self, exported: Path, operator_cards: Path) -> None:
        text = exported.read_text().replace('role = "separator"', 'role = "generator"')
        exported.write_text(text)
        config = operator_cards / "small" / "config.json"
        assert seal.seal("small").controls == ()
        for controls in (["density", "fills"], ["swing"], []):
            config.write_text(json.dumps({"styles": ["a"], "controls": controls}))
            assert seal.seal("small").controls == tuple(controls)
            assert exported.read_text().count("controls") == bool(controls)
        config.write_text(json.dumps({"styles": ["a"], "controls": ["loudness"]}))
        with pytest.raises(CardInvalid, match="loudness"):
            seal.seal("small")

    def test_new_weights_need_a_new_seal(self, exported: Path, operator_cards: Path) -> None:
        first = seal.seal("small").digest
        path = operator_cards / "small" / "config.json"
        path.write_text(path.read_text() + " ")
        assert seal.seal("small").digest != first

    def test_figures_stand_in_the_card_until_the_weights_change(
        self, exported: Path, operator_cards: Path, tmp_path: Path
    ) -> None:
        quality = tmp_path / "quality.json"
        quality.write_text(json.dumps(QUALITY))
        assert seal.main(["small", "--quality", str(quality)]) == 0
        (row,) = registry.card("small").measured
        assert row.measure == 'SDR of drums, "dB"'
        assert row.columns == {"control": (0.0, 0.0, 0.1), "generated": (8.123, 7.0, 9.0)}
        assert (row.pieces, row.bar, row.met) == (64, ">= 6", True)
        shown = CliRunner().invoke(app, ["show", "small"]).stdout
        assert "8.12" in shown
        assert ">= 6 met" in shown
        before = exported.read_text()
        assert seal.seal("small").measured
        assert exported.read_text() == before
        path = operator_cards / "small" / "config.json"
        path.write_text(path.read_text() + " ")
        assert seal.seal("small").measured == ()

    def test_figures_that_cannot_be_read_change_nothing(
        self, exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        before = exported.read_text()
        (tmp_path / "quality.json").write_text("{")
        for name in ("quality.json", "none.json"):
            assert seal.main(["small", "--quality", str(tmp_path / name)]) == 1
            assert name in capsys.readouterr().err
        assert exported.read_text() == before

    @pytest.mark.parametrize(
        "table",
        [
            'measure = "a"\npieces = 3',
            'measure = "a"\npieces = 3\nreal = [1, 2]',
            'measure = "a"\nreal = [1, 2, 3]',
            'measure = "a"\npieces = 3\nreal = [1, 2, 3]\nmet = "yes"',
            'measure = "a"\npieces = 3\nreal = [1, 2, 3]\nmean = 3',
        ],
    )
    def test_a_row_that_is_none_is_refused(self, exported: Path, table: str) -> None:
        text = exported.read_text().replace("\n[files", f"\n[[measured]]\n{table}\n\n[files", 1)
        exported.write_text(text)
        with pytest.raises(CardInvalid):
            registry.card("small")

    def test_what_is_not_exported_is_not_sealed(self, exported: Path, operator_cards: Path) -> None:
        (operator_cards / "small" / "model.safetensors").unlink()
        with pytest.raises(CheckpointNotPulled, match="not been exported"):
            seal.seal("small")

    def test_others_weights_are_not_sealed_here(self) -> None:
        with pytest.raises(CardInvalid, match="by hand"):
            seal.seal("htdemucs")

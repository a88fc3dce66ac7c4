"""A demo's choices as they are written: understood, or refused with the way out."""

from pathlib import Path
from typing import Any

import pytest

from checkpoints import registry
from service.demo.request import DemoRequest, NotPossible, words_for


@pytest.fixture
def controls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bundled drums, with the controls of a generator that has them."""
    (tmp_path / "cards").mkdir()
    monkeypatch.setenv("REPRISE_CARDS", str(tmp_path / "cards"))
    _card(tmp_path / "cards", 'controls = ["density", "fills", "swing"]\n')


def _card(folder: Path, controls: str) -> None:
    ours = registry.ROOT / "cards" / "reprise-drums.toml"
    lines = ours.read_text().splitlines(keepends=True)
    own = [line for line in lines if not line.startswith("controls = ")]
    (folder / ours.name).write_text("".join([own[0], controls, *own[1:]]))


@pytest.mark.usefixtures("controls")
def test_what_is_written_is_what_is_asked_for() -> None:
    request = DemoRequest(
        style="Brushed Jazz",
        seed=7,
        density=" Busy ",
        fills="0",
        swing="yes",
        redo="24-30.5, 8-16",
    )
    asked = request.choices()
    assert asked.model_dump(exclude_defaults=True) == {
        "style": "brushed jazz",
        "seed": 7,
        "density": "busy",
        "fills": False,
        "swing": True,
        "redo": ({"start": 8.0, "end": 16.0}, {"start": 24.0, "end": 30.5}),
    }
    assert list(words_for(asked)) == [
        "brushed jazz",
        "busy",
        "without fills",
        "swung",
        "only from 0:08 to 0:16 and 0:24 to 0:30.5",
    ]


@pytest.mark.usefixtures("controls")
def test_nothing_written_leaves_it_to_the_song() -> None:
    asked = DemoRequest(style="rock").choices()
    assert asked.controls == ()
    assert asked.redo is None
    assert list(words_for(asked)) == ["rock"]


@pytest.mark.usefixtures("controls")
@pytest.mark.parametrize(
    ("written", "words"),
    [
        ({"density": "loud"}, "DENSITY=loud is not offered; there is sparse, normal, busy"),
        ({"fills": "maybe"}, "FILLS=maybe is neither 1 nor 0"),
        ({"swing": "2"}, "SWING=2 is neither 1 nor 0"),
        ({"redo": "8"}, 'write REDO="8-16,24-30"'),
        ({"redo": ""}, 'write REDO="8-16,24-30"'),
        ({"redo": "8-x"}, 'REDO="8-x"'),
        ({"redo": "-4-8"}, 'REDO="-4-8"'),
        ({"redo": "8-8.2"}, "shorter than 0.5 s"),
        ({"redo": "8-16,12-20"}, "overlap"),
        ({"redo": "nan-8"}, "finite"),
        ({"seed": -1}, 'SEED="-1"'),
    ],
)
def test_a_mistake_tells_the_way_out(written: dict[str, Any], words: str) -> None:
    with pytest.raises(NotPossible) as refusal:
        DemoRequest(style="rock", **written).choices()
    assert words in str(refusal.value)


def test_a_checkpoint_without_controls_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REPRISE_CARDS", str(tmp_path))
    _card(tmp_path, "")
    for written in ({"density": "busy"}, {"fills": "1"}, {"swing": "0"}):
        with pytest.raises(NotPossible, match="reprise-drums cannot be told; it has no controls"):
            DemoRequest(style="rock", **written).choices()
    assert DemoRequest(style="rock", redo="8-16").choices().redo is not None

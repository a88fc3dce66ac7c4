"""The bundled drums learn a style that they never heard, from one artist's catalogue."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from checkpoints import registry
from tests.adapter_rig import Atelier
from workers.adapters.catalogue import Listening
from workers.adapters.learning import Recipe, cross_entropy
from workers.adapters.training import train_adapter
from workers.regeneration.adapter import adapted
from workers.regeneration.loading import open_codec, open_generator
from workers.training.data.composition import HELD_OUT_STYLE, compose
from workers.training.data.rendering import render
from workers.training.data.soundfont import find_fonts
from workers.training.generator.examples import Example

SECONDS = 14.0
CATALOGUE, NEW_SONGS = 40, 8
STEPS = 120
OTHERS = ("rock", "bossa nova", "house", "hip-hop", "reggae", "country")
FALLS, STAYS = 0.02, 0.05


@pytest.fixture(scope="module")
def atelier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Atelier]:
    """Without the tiny checkpoints: the cards are the bundled ones, and what is trained here."""
    folder = tmp_path_factory.mktemp("atelier")
    cards = folder / "cards"
    cards.mkdir()
    with Atelier.opened(folder, cards) as made:
        yield made


def song(seed: int, style: str) -> dict[str, np.ndarray]:
    """Stems of a piece; the artist's own songs share one drum kit and one room."""
    own = style == HELD_OUT_STYLE
    piece = compose(seed, style=style, duration=SECONDS)
    return render(piece, find_fonts()[0], seed=77 if own else seed, plain=own)


@pytest.mark.renderer
@pytest.mark.timeout(1200)
def test_the_styles_cross_entropy_falls_and_the_others_stay(
    atelier: Atelier, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.set_num_threads(1)
    ada = atelier.story.owner("Ada")
    catalogue = [atelier.recorded(ada, song(9_000 + n, HELD_OUT_STYLE)) for n in range(CATALOGUE)]
    grant_id = atelier.grant(
        ada, tracks=catalogue, adapter="ada-drums", base="reprise-drums", style=HELD_OUT_STYLE
    )
    card = train_adapter(atelier.place, "ada-drums", Recipe(steps=STEPS, batch=2, seed=5))
    assert card is not None
    assert [grant.id for grant in card.grants] == [grant_id]

    base_files = registry.open("reprise-drums", commercial=False).files
    base = open_generator(base_files)
    tuned = adapted(base, registry.open("ada-drums", commercial=False).files)
    codec = open_codec(registry.open("reprise-drums-codec", commercial=False).files)

    # Songs that nobody trained on, read as a catalogue is.
    own = [(9_900 + n, HELD_OUT_STYLE) for n in range(NEW_SONGS)]
    others = [(500 + n, style) for n, style in enumerate(OTHERS)]
    tracks = {atelier.recorded(ada, song(*piece)): piece[1] for piece in (*own, *others)}
    admission = atelier.training.permit(
        atelier.grant(
            ada, tracks=list(tracks), adapter="to-measure", base="reprise-drums", style="any"
        )
    )
    listening = Listening(
        objects=atelier.objects,
        models=atelier.place.models,
        codec=codec,
        folder=tmp_path,
        part="drums",
        style="any",
        shortest_frames=base.config.window,
        commercial=False,
        check=lambda: None,
    )
    clips: dict[str, list[Example]] = {}
    for track in admission.allowed.catalogue:
        found = listening.clips(admission.permits[track.id], track, None)
        clips.setdefault(tracks[track.id], []).extend(found)

    falls = [
        1 - cross_entropy(tuned, [clip], HELD_OUT_STYLE) / cross_entropy(base, [clip], None)
        for clip in clips[HELD_OUT_STYLE]
    ]
    moves = {
        style: cross_entropy(tuned, clips[style], style) / cross_entropy(base, clips[style], style)
        - 1
        for style in OTHERS
    }
    with capsys.disabled():
        print(f"\n{HELD_OUT_STYLE} falls by {falls}; others move by {moves}")  # noqa: T201
    assert np.mean(falls) >= FALLS
    assert min(falls) > 0, "every new song is expected better"
    assert max(abs(move) for move in moves.values()) <= STAYS

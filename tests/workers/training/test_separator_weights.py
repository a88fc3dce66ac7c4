"""The bundled separator on pieces that no corpus holds: it must beat silence and the mixture."""

from pathlib import Path

import numpy as np
import pytest

from workers.training.data.composition import STYLES, compose
from workers.training.data.rendering import render
from workers.training.data.soundfont import find_fonts
from workers.training.separator import SOURCES, load_exported, sdr, separate

pytestmark = pytest.mark.renderer

BUNDLED = Path(__file__).parents[3] / "checkpoints" / "reprise-separator"
FLOOR_DB = 3.0


@pytest.fixture(scope="module")
def scores() -> dict[str, dict[str, list[float]]]:
    """SDR by estimate and stem over one piece of every style, 8 s each."""
    model = load_exported(BUNDLED)
    font = find_fonts()[0]
    found: dict[str, dict[str, list[float]]] = {
        who: {source: [] for source in SOURCES} for who in ("model", "mixture")
    }
    for index, style in enumerate(STYLES):
        stems = render(compose(8_000 + index, style, 8.0), font, seed=index)
        mixture = np.sum(list(stems.values()), axis=0)
        estimates = separate(model, mixture)
        for place, source in enumerate(SOURCES):
            if np.mean(stems[source] ** 2) > 1e-8:
                found["model"][source].append(sdr(stems[source], estimates[place]))
                found["mixture"][source].append(sdr(stems[source], mixture))
    return found


@pytest.mark.parametrize("source", ["drums", "bass"])
def test_drums_and_bass_are_separated_well_above_silence(
    scores: dict[str, dict[str, list[float]]], source: str
) -> None:
    assert len(scores["model"][source]) >= 12
    assert np.mean(scores["model"][source]) >= FLOOR_DB


@pytest.mark.parametrize("source", SOURCES)
def test_every_stem_is_better_than_the_mixture(
    scores: dict[str, dict[str, list[float]]], source: str
) -> None:
    assert np.mean(scores["model"][source]) > np.mean(scores["mixture"][source]) + 2.0


def test_the_sources_add_up_to_about_the_mixture() -> None:
    stems = render(compose(8_100, "soul", 8.0), find_fonts()[0], seed=1)
    mixture = np.sum(list(stems.values()), axis=0)
    together = separate(load_exported(BUNDLED), mixture).sum(axis=0)
    assert sdr(mixture, together) > 10.0

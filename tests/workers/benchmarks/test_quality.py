"""The whole command on two rendered pieces and checkpoints with random weights."""

import json
from pathlib import Path

import pytest

from tests.tiny_checkpoints import write_tiny_checkpoints
from workers.benchmarks.held_out import listed
from workers.benchmarks.quality import Plan, main, rows_of
from workers.benchmarks.weights import Weights
from workers.training.data.corpus import write_corpus
from workers.training.data.soundfont import find_fonts


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_tiny_checkpoints(tmp_path_factory.mktemp("weights"))
    for name in ("separator", "drums"):
        (folder / f"reprise-{name}").symlink_to(folder / f"tiny-{name}")
    return folder


@pytest.mark.renderer
def test_the_table_of_random_weights_meets_no_bar_of_music(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus, figures = tmp_path / "corpus", tmp_path / "figures.json"
    write_corpus(corpus, 8, 11, find_fonts(), duration=12.2)
    arguments = [
        "--corpus", str(corpus), "--folder", str(weights), "--kept", str(tmp_path / "kept"),
        "--pieces", "2", "--seeds", "1", "--candidates", "1", "--jobs", "1",
        "--only", "drums", "separation", "--json", str(figures),
    ]  # fmt: skip
    assert main(arguments) == 0
    found = {row["measure"]: row for row in json.loads(figures.read_text())["rendered"]}
    for title in (
        "onset correlation with the context",
        "beat F1 alone against the known beats",
        "onset F1 of resynthesis",
        "log-mel distance of resynthesis",
        "separated context: onset correlation with the context",
        "seam's spectral jump by the piece's own median",
        "SDR of drums, dB",
        "gain over mixture or silence, mean of stems, dB",
    ):
        assert found[title]["bar"], title
        assert found[title]["columns"], title
    assert found["onset correlation with the context"]["met"] is False
    assert found["SDR of drums, dB"]["met"] is False
    # Random weights redo bars badly, but what is kept is the original's own.
    assert found["kept samples that are the original's own"]["met"] is True
    assert "NOT MET" in capsys.readouterr().out

    # Again from what is kept: nothing is measured anew, and the figures are the same.
    first = figures.read_text()
    assert main(arguments) == 0
    assert figures.read_text() == first
    assert "drums:" not in capsys.readouterr().err

    # What is known of rendered pieces is told by their labels, with or without a style classifier.
    plan = Plan(Weights(weights), 0, 1, 1, tmp_path / "kept" / "results", 1)
    songs = listed(corpus, "test", 10)
    for labelled, title in ((True, "the known beats"), (False, "beats tracked in the full mix")):
        rows = rows_of(plan, songs, ["drums"], [], None, 2, labelled=labelled)[0]
        assert f"beat F1 alone against {title}" in {row.title for row in rows}


def test_a_folder_that_is_not_there_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["--multitracks", str(tmp_path / "nowhere")])
    assert "there is no folder" in capsys.readouterr().err

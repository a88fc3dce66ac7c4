"""A run that begins with the weights of an earlier checkpoint."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.generator_windows import CONFIG, ROOTED, harmonised
from workers.regeneration.model import ConditionedMusicgen, GeneratorConfig
from workers.training.generator.batches import (
    validation_batch,
)
from workers.training.generator.beginning import CannotBeginWith, begin_with
from workers.training.generator.command import export
from workers.training.generator.loop import (
    codebook_losses,
    initialise,
)


def exported(model: ConditionedMusicgen, folder: Path) -> Path:
    export(model, folder, {"step": 7})
    return folder


def test_a_run_begins_by_playing_as_the_checkpoint_did(tmp_path: Path) -> None:
    plain = replace(ROOTED, context=CONFIG.context)
    torch.manual_seed(3)
    old = ConditionedMusicgen(plain)
    initialise(old)
    torch.nn.init.normal_(old.additive.weight, std=0.3)
    new = ConditionedMusicgen(ROOTED)
    said = begin_with(new, exported(old, tmp_path))
    assert said["training"] == {"step": 7}
    batch = validation_batch(plain, harmonised(), "true")
    with torch.no_grad():
        torch.testing.assert_close(
            codebook_losses(new, batch), codebook_losses(old, batch), atol=2e-3, rtol=2e-3
        )


@pytest.mark.parametrize(
    "other",
    [
        replace(ROOTED, part="drums"),
        replace(ROOTED, styles=("rock", "polka")),
        replace(ROOTED, layers=2),
        replace(ROOTED, width=32),
    ],
    ids=["part", "styles", "layers", "width"],
)
def test_a_checkpoint_that_does_not_fit_is_no_beginning(
    other: GeneratorConfig, tmp_path: Path
) -> None:
    folder = exported(ConditionedMusicgen(other), tmp_path)
    with pytest.raises(CannotBeginWith):
        begin_with(ConditionedMusicgen(ROOTED), folder)

"""Train the bundled separator: a small, frequency-only HDemucs that separates rendered stems.

    python -m workers.training separator --corpus DIR --state DIR --seed 1 --export DIR
    python -m workers.training separator --state DIR --steps 0 --export DIR
    python -m workers.training separator --corpus DIR --evaluate DIR --split test-font

State is saved by step; a run resumes to the same result.
"""

from workers.training.separator.command import main
from workers.training.separator.evaluation import (
    empty_scores,
    evaluate,
    gains,
    means,
    score,
    sdr,
    separate,
    table,
)
from workers.training.separator.model import MODEL, SOURCES, load_exported
from workers.training.separator.run import (
    Recipe,
    Run,
    StateNotSaved,
    TrainingDiverged,
    separation_loss,
)
from workers.training.separator.training import train

__all__ = [
    "MODEL",
    "SOURCES",
    "Recipe",
    "Run",
    "StateNotSaved",
    "TrainingDiverged",
    "empty_scores",
    "evaluate",
    "gains",
    "load_exported",
    "main",
    "means",
    "score",
    "sdr",
    "separate",
    "separation_loss",
    "table",
    "train",
]

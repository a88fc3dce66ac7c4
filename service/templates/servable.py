"""Whether this very remix can be made: the checkpoints' files, the stems, the song's length.

A template was checked when it was made; files change, and a song's length is only known now. Asked
when a remix is, so that nobody waits, and nothing is counted or owed, for what cannot end well.
"""

from collections.abc import Collection

from checkpoints.fitting import require_fitting
from checkpoints.limits import LONGEST_S, SHORTEST_S
from service.errors import Problem
from service.templates.capability import generator_of, separators_for
from service.templates.terms import TemplateTerms


class LengthNotSupported(Problem):
    """No generator makes a part for a song that is so short or so long."""

    status = 422
    slug = "length-not-supported"
    title = "The named checkpoints cannot make a part of this length"
    limit = "the length of a song that a part can be made for"
    changed_by = "you, by another tempo; else nobody"


def check_servable(
    terms: TemplateTerms,
    stems: Collection[str],
    duration_seconds: float | None,
    tempo_percent: float,
) -> None:
    """Raise unless the checkpoints behind the terms can be loaded and serve the song.

    `stems` are the names of those the artist gave, `duration_seconds` is the original's, None
    where it is not known. Raises `LengthNotSupported`, `PartNotSupported`, or `CheckpointInvalid`
    and `CheckpointHashMismatch` of the registry.
    """
    separators = separators_for(terms, stems)
    if duration_seconds is not None:
        length = duration_seconds / (1 + tempo_percent / 100)
        if not SHORTEST_S <= length <= LONGEST_S:
            raise LengthNotSupported(
                f"the remix would last {length:.1f} s; a part is made for {SHORTEST_S:g} to "
                f"{LONGEST_S:g} s",
                length_seconds=round(length, 3),
                allowed={"min": SHORTEST_S, "max": LONGEST_S},
            )
    require_fitting(generator_of(terms))
    # Which of several is taken is the worker's choice.
    for card in separators:
        require_fitting(card)

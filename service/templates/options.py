"""What a template can name: the checkpoints of this service, and its fee."""

from checkpoints import registry
from checkpoints.errors import CheckpointError
from service.templates.capability import cards_of_names
from service.templates.schemas import CheckpointOption, TemplateOptions

NAMED = frozenset({"generator", "separator"})
"""Roles that are shown to everybody. What these require is found by their cards, and an adapter is
its owners' own: whoever may name it knows it."""


def read(platform_fee_ppm: int) -> TemplateOptions:
    """The cards that a new template can name, by name, and the fee in parts per million.

    Raises `checkpoints.errors.CardInvalid`.
    """
    return TemplateOptions(
        checkpoints=[
            CheckpointOption.model_validate(card)
            for card in registry.cards()
            if card.role in NAMED and _usable(card.name)
        ],
        platform_fee_ppm=platform_fee_ppm,
    )


def _usable(name: str) -> bool:
    try:
        for card in cards_of_names([name]).values():
            registry.require_usable(card)
    except CheckpointError:
        return False
    return True

"""What a template can name: cards that everybody may, and that can be used."""

import dataclasses

import pytest

from checkpoints import registry
from service.templates import options


def test_adapters_and_withdrawn_cards_are_not_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    """An adapter is its owners' own, and its name nobody else's business."""
    drums = registry.card("reprise-drums")
    shown = dataclasses.replace(drums, name="shown")
    kept = [
        dataclasses.replace(drums, name="an-artists-own", role="adapter"),
        dataclasses.replace(drums, name="gone", withdrawn="its grant was revoked"),
        dataclasses.replace(drums, name="broken", requires=("nowhere",)),
    ]
    cards = {card.name: card for card in (*registry.cards(), shown, *kept)}
    monkeypatch.setattr(registry, "cards", lambda: tuple(cards.values()))
    find = registry.card
    monkeypatch.setattr(registry, "card", lambda name: cards.get(name) or find(name))
    names = {option.name for option in options.read(0).checkpoints}
    assert "shown" in names
    assert names.isdisjoint(card.name for card in kept)

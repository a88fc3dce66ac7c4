"""What the named checkpoints can make: a template promises nothing that no model can keep."""

from collections.abc import Collection, Iterable

from checkpoints import registry
from checkpoints.card import Card
from checkpoints.errors import UnknownCheckpoint
from service.errors import Problem
from service.templates.terms import TemplateTerms


class PartNotSupported(Problem):
    """The named cards cannot make what the template offers."""

    status = 422
    slug = "part-not-supported"
    title = "The named checkpoints cannot make this"
    limit = "what the checkpoints can make"
    changed_by = "the template's author, with other checkpoints or terms"


def cards_of(terms: TemplateTerms) -> dict[str, Card]:
    """The cards a template names and the cards those require, by name.

    Raises `checkpoints.errors.UnknownCheckpoint`.
    """
    return cards_of_names(terms.checkpoints)


def cards_of_names(names: Iterable[str]) -> dict[str, Card]:
    """The cards of these names and the cards those require, by name; raises as `cards_of` does."""
    found: dict[str, Card] = {}
    wanted = list(names)
    while wanted:
        card = registry.card(wanted.pop())
        if card.name not in found:
            found[card.name] = card
            wanted.extend(card.requires)
    return dict(sorted(found.items()))


def generator_of(terms: TemplateTerms) -> Card:
    """The card, a generator's or an adapter's, that makes the part in all the template's styles.

    Only cards that the template itself names count: a base that an adapter requires makes nothing
    by itself here. Raises `PartNotSupported`, naming what the cards can make, or
    `checkpoints.errors.UnknownCheckpoint`.
    """
    named = {registry.card(name).name for name in terms.checkpoints}
    generators = [
        card
        for role in ("adapter", "generator")
        for card in cards_of(terms).values()
        if card.role == role and card.name in named
    ]
    if not generators:
        raise PartNotSupported(
            f"none of {', '.join(terms.checkpoints)} is a generator: name one that makes "
            f"{terms.part}",
            part=terms.part,
        )
    able = [card for card in generators if terms.part in card.parts]
    if not able:
        can = "; ".join(f"{c.name} makes {', '.join(c.parts) or 'no part'}" for c in generators)
        raise PartNotSupported(f"no card named makes {terms.part}: {can}", part=terms.part)
    for card in able:
        # A card without a list of styles takes free text.
        if not card.styles or (
            not terms.free_text and set(terms.styles) <= {s.casefold() for s in card.styles}
        ):
            return card
    if terms.free_text:
        raise PartNotSupported(
            f"{able[0].name} knows its own styles only; free_text needs a card without a list",
            checkpoint=able[0].name,
            styles=list(able[0].styles),
        )
    missing = sorted(set(terms.styles) - {s.casefold() for s in able[0].styles})
    raise PartNotSupported(
        f"{able[0].name} does not know {', '.join(missing)}; it knows {', '.join(able[0].styles)}",
        checkpoint=able[0].name,
        styles=list(able[0].styles),
    )


def check_capability(terms: TemplateTerms) -> None:
    """Raise unless the named cards can make the part and styles under a licence that allows it.

    Raises `PartNotSupported`, `checkpoints.errors.UnknownCheckpoint`, `CheckpointLicence`,
    `CheckpointWithdrawn` or `CheckpointBaseMismatch`.
    """
    generator_of(terms)
    for card in cards_of(terms).values():
        registry.require_usable(card)
        registry.require_licence(card, commercial=terms.commercial)


def settled(terms: TemplateTerms) -> TemplateTerms:
    """The terms of a new version: what was left out of the controls is what the generator has.

    Raises `PartNotSupported` when a control is offered that the generator lacks.
    """
    check_controls(terms, terms.controls)
    return terms.settled(generator_of(terms).controls)


def offered_controls(terms: TemplateTerms) -> frozenset[str]:
    """The controls that the template offers and its generator has; none if the card is gone."""
    try:
        return frozenset(terms.controls) & frozenset(generator_of(terms).controls)
    except (PartNotSupported, UnknownCheckpoint):
        return frozenset()


def check_controls(terms: TemplateTerms, asked: Collection[str]) -> None:
    """Raise `PartNotSupported` unless the template's generator has every control asked for."""
    if not asked:
        return
    card = generator_of(terms)
    missing = [name for name in asked if name not in card.controls]
    if missing:
        has = f"it has {', '.join(card.controls)}" if card.controls else "it has no controls"
        raise PartNotSupported(
            f"{card.name} cannot be told {', '.join(missing)}; {has}",
            checkpoint=card.name,
            controls=list(card.controls),
            choice=missing[0],
        )


def separators_for(terms: TemplateTerms, stems: Collection[str]) -> list[Card]:
    """The cards named that can give the stem to be replaced; none where the artist gave it.

    `stems` are the names of those the artist gave. Raises `PartNotSupported` where the stem is
    neither there nor can be separated.
    """
    if terms.part in stems:
        return []
    separators = [card for card in cards_of(terms).values() if card.role == "separator"]
    if able := [card for card in separators if terms.part in card.sources]:
        return able
    if not separators:
        raise PartNotSupported(
            f"the track has no {terms.part} stem and the template names no separator: upload the "
            "stems, or name a separator in a new version of the template",
            part=terms.part,
        )
    can = "; ".join(f"{card.name} makes {', '.join(card.sources)}" for card in separators)
    raise PartNotSupported(f"no separator named makes {terms.part}: {can}", part=terms.part)

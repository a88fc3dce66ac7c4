"""Price, commerce, checkpoints, styles, revocation: attempts to get past what was signed."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from checkpoints.errors import CheckpointLicence
from service.catalog.models import Track
from service.consent import closing, gate
from service.consent.refusals import (
    ConsentRefused,
    TakenDown,
)
from service.templates.capability import PartNotSupported, cards_of
from service.templates.choices import ChoiceOutsideTemplate, Choices, check_choices
from service.templates.models import TemplateVersion
from service.templates.price import PriceNotPossible
from service.templates.terms import TemplateTerms
from service.templates.versions import get_version
from tests.cards import CARDS, STYLES
from tests.jobs_house import LISTENER, House
from tests.limit_tries import ONE, OPERATOR, end, many
from tests.stories import TERMS, Granted

MONEY = st.one_of(st.just(0), st.integers(1, 10**9))


@ONE
@pytest.mark.attack("limit of a grant passed")
def test_nothing_is_paid_for_without_commerce(house: House) -> None:
    owner = house.story.owner("Ada")
    track = house.story.track(owner)

    @many(20)
    @given(remix=MONEY, plays=MONEY, fee=st.integers(0, 10**6), nc=st.booleans())
    def attempt(remix: int, plays: int, fee: int, nc: bool) -> None:
        price = {"currency": "EUR", "per_remix": remix, "per_thousand_plays": plays}
        price["platform_fee_ppm"] = fee
        cards = ["test-non-commercial" if nc else "test-drums", "test-separator"]
        with pytest.raises(PriceNotPossible) as refusal:
            house.story.template(owner, track, price=price, checkpoints=cards)
        assert refusal.value.document()["limit"] == "commercial"
        # Nor by calling it commerce with weights that may not be used for it.
        if nc:
            with pytest.raises(CheckpointLicence):
                house.story.template(owner, track, price=price, checkpoints=cards, commercial=True)

    attempt()
    assert house.count(TemplateVersion) == 0


@ONE
@pytest.mark.attack("limit of a grant passed")
def test_a_job_has_the_checkpoints_that_were_signed_and_no_other(house: House) -> None:
    owner = house.story.owner("Ada")
    track = house.story.track(owner)

    @many(20)
    @given(
        names=st.lists(st.sampled_from(sorted(CARDS)), min_size=1, max_size=4, unique=True),
        commercial=st.booleans(),
    )
    def attempt(names: list[str], commercial: bool) -> None:
        try:
            template = house.story.template(owner, track, checkpoints=names, commercial=commercial)
        except (PartNotSupported, CheckpointLicence):
            return
        assert not (commercial and "test-non-commercial" in names)
        house.story.sign(owner, *house.story.grant(owner, template))
        try:
            job = house.job(house.ask(Granted((owner,), track, template, 1, "")))
        except PartNotSupported:
            assert "test-separator" not in names
            return
        signed = cards_of(TemplateTerms.model_validate({**TERMS, "checkpoints": names}))
        with house.database.snapshot() as session:
            permit = gate.permit(session, house.keys, job.token, "regenerate", choices=job.choices)
        assert permit.checkpoints == {name: card.digest for name, card in signed.items()}
        assert set(permit.checkpoints) >= set(names)

    attempt()


def spellings(style: str) -> st.SearchStrategy[str]:
    """The style, and what looks or sounds like it."""
    return st.sampled_from(
        [
            style,
            style.upper(),
            f" {style} ",
            style.replace("o", "о"),  # Cyrillic.
            style.replace("o", "0"),
            "\u200d".join(style),
            f"{style}\u0301",
            f"{style}\x00",
            f"{style}\n",
            f"{style},funk",
            f"{style}*",
            "".join(chr(ord(letter) + 0xFEE0) for letter in style),
        ]
    )


@ONE
@pytest.mark.attack("look-alike or hidden letters")
def test_no_spelling_of_another_style_gets_in(house: House) -> None:
    granted = house.grant(styles=["rock", "funk"])
    with house.database.snapshot() as session:
        version = get_version(session, granted.template_id, 1)
        track = session.get_one(Track, granted.track_id)
        version.parsed, track.duration_seconds  # noqa: B018 - loaded before the session ends
        session.expunge_all()

    @many(150)
    @given(style=st.one_of(spellings("rock"), spellings("brushed jazz"), st.text(max_size=70)))
    def attempt(style: str) -> None:
        plain = unicodedata.normalize("NFC", style.strip()).casefold()
        try:
            choices = Choices(style=style)
            check_choices(version, choices, track)
        except (ValidationError, ChoiceOutsideTemplate):
            assert plain not in ("rock", "funk")
            return
        # What was let in is a listed style to the letter, and nothing but its case was changed.
        assert choices.style in ("rock", "funk")
        assert plain == choices.style

    attempt()


@ONE
@pytest.mark.attack("limit of a grant passed")
def test_free_text_is_offered_only_where_signed_and_understood(house: House) -> None:
    owner = house.story.owner("Ada")
    track = house.story.track(owner)
    names = st.one_of(st.sampled_from(STYLES), st.sampled_from(["bossa nova", "gabber"]))

    @many(25)
    @given(
        listed=st.lists(names, min_size=1, max_size=2, unique=True),
        free=st.booleans(),
        card=st.sampled_from(["test-drums", "test-free-text"]),
        asked=names,
    )
    def attempt(listed: list[str], free: bool, card: str, asked: str) -> None:
        knows_all = card == "test-free-text"
        possible = knows_all or (not free and set(listed) <= set(STYLES))
        try:
            template = house.story.template(
                owner,
                track,
                styles=listed,
                free_text=free,
                checkpoints=[card, "test-separator"],
                quota_per_listener=1000,
            )
        except PartNotSupported:
            assert not possible
            return
        assert possible
        house.story.sign(owner, *house.story.grant(owner, template))
        granted = Granted((owner,), track, template, 1, "")
        if free or asked in listed:
            house.admit(granted, f"job_{template}", style=asked)
            return
        with pytest.raises(ChoiceOutsideTemplate):
            house.admit(granted, f"job_{template}", style=asked)

    attempt()


@ONE
@many(12)
@given(
    says=st.sampled_from([None, "keep", "takedown"]),
    ending=st.sampled_from(["nothing", "revoke", "operator", "supersede"]),
    twice=st.booleans(),
)
def test_published_remixes_go_exactly_where_the_owners_signed_so(
    house: House, says: str | None, ending: str, twice: bool
) -> None:
    granted = house.grant(on_revocation=says)
    jobs = [house.ask(granted) for _ in range(2)]
    for job_id in jobs:
        end(house, job_id, "published")
    owner = granted.owners[0].principal
    for _ in range(2 if twice else 1):
        with house.database.transaction() as session:
            if ending == "supersede":
                closing.supersede(session, granted.track_id, by="x")
            elif ending != "nothing":
                who = OPERATOR if ending == "operator" else owner
                closing.revoke(session, who, granted.grant_id)
    gone = says == "takedown" and ending in ("revoke", "operator")
    for job_id in jobs:
        for who in (LISTENER, owner, OPERATOR):
            with house.database.snapshot() as session:
                asked = {"job_subject": LISTENER.subject, "track_id": granted.track_id}
                asked |= {"job_id": job_id, "grant_id": granted.grant_id}
                if not gone:
                    gate.permit_download(session, who, **asked)
                    continue
                with pytest.raises(TakenDown) as refusal:
                    gate.permit_download(session, who, **asked)
                assert refusal.value.document()["limit"] == "on_revocation"
    if ending != "nothing":
        with pytest.raises(ConsentRefused):
            house.ask(granted)

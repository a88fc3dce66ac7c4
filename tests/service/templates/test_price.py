"""A template's price: what may be asked, and that templates without one are what they were."""

from typing import Any

import pytest
from pydantic import ValidationError

from service.catalog.models import WHOLE_PPM, Share, Track
from service.templates.models import TemplateVersion
from service.templates.price import HIGHEST_PRICE, Price, PriceNotPossible, check_price
from service.templates.terms import TemplateTerms
from tests.stories import TERMS, Story

ONE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def track(*sides: str) -> Track:
    return Track(shares=[Share(party_id="pty", side=side, ppm=WHOLE_PPM) for side in sides])


def test_terms_without_a_price_do_not_mention_one() -> None:
    plain = TemplateTerms.model_validate(TERMS)
    assert plain.price is None
    assert "price" not in plain.model_dump(mode="json")


def test_a_price_is_part_of_what_is_signed() -> None:
    terms = TemplateTerms.model_validate({**TERMS, "price": {"currency": "EUR", "per_remix": 99}})
    again = TemplateTerms.model_validate(terms.model_dump(mode="json"))
    assert again.price == Price(currency="EUR", per_remix=99)
    assert terms.model_dump(mode="json")["price"]["recording_ppm"] == WHOLE_PPM


@pytest.mark.parametrize(
    "change",
    [
        {"currency": "euro"},
        {"currency": "eur"},
        {"currency": None},
        {"per_remix": -1},
        {"per_remix": 0.5},
        {"per_remix": "1"},
        {"per_remix": True},
        {"per_remix": HIGHEST_PRICE + 1},
        {"per_thousand_plays": -1},
        {"platform_fee_ppm": 1_000_001},
        {"platform_fee_ppm": -1},
        {"recording_ppm": 1_000_001},
        {"surprise": 1},
    ],
)
def test_prices_that_are_none(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Price.model_validate({"currency": "EUR", **change})


@pytest.mark.parametrize("currency", ["EUR", "USD", "JPY", "KWD"])
def test_money_with_minor_units_can_be_asked(currency: str) -> None:
    check_price(Price(currency=currency), track("recording"), commercial=True)


@pytest.mark.parametrize("currency", ["AAA", "XAU", "XTS", "XXX", "ZZZ"])
def test_other_codes_cannot(currency: str) -> None:
    with pytest.raises(PriceNotPossible, match="ISO 4217") as refused:
        check_price(Price(currency=currency), track("recording"), commercial=True)
    assert refused.value.extensions["limit"] == "price.currency"
    assert refused.value.document()["changed_by"] == "the template's author"


def test_what_is_paid_for_is_commercial() -> None:
    with pytest.raises(PriceNotPossible, match="commercial"):
        check_price(Price(currency="EUR"), track("recording"), commercial=False)


def test_nothing_is_left_for_a_side_that_is_not_there() -> None:
    price = Price(currency="EUR", recording_ppm=999_999)
    with pytest.raises(PriceNotPossible, match="no composition side"):
        check_price(price, track("recording"), commercial=True)
    check_price(price, track("recording", "composition"), commercial=True)


@pytest.mark.parametrize(("stated", "fits"), [(0, False), (149_999, False), (150_000, True)])
def test_no_price_states_less_for_the_platform_than_it_keeps(stated: int, fits: bool) -> None:
    price = Price(currency="EUR", platform_fee_ppm=stated)
    if fits:
        check_price(price, track("recording"), commercial=True, platform_fee_ppm=150_000)
        return
    with pytest.raises(PriceNotPossible, match="150,000 ppm") as refused:
        check_price(price, track("recording"), commercial=True, platform_fee_ppm=150_000)
    assert refused.value.document()["changed_by"] == "the operator"
    assert refused.value.document()["limit"] == "price.platform_fee_ppm"


@ONE
def test_a_price_that_cannot_be_paid_leaves_no_template(story: Story) -> None:
    ada = story.owner("Ada")
    track_id = story.track(ada)
    asked = {"currency": "XAU", "per_remix": 1}
    with pytest.raises(PriceNotPossible):
        story.template(ada, track_id, commercial=True, price=asked)
    with story.database.snapshot() as session:
        assert session.query(TemplateVersion).count() == 0


@ONE
def test_a_currency_that_leaves_iso_4217_can_still_be_read(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = story.owner("Ada")
    template_id = story.template(
        ada, story.track(ada), commercial=True, price={"currency": "EUR", "per_remix": 1}
    )

    def gone(code: str) -> None:
        raise ValueError(code)

    monkeypatch.setattr("service.templates.price.iso4217.Currency", gone)
    with story.database.snapshot() as session:
        made = session.get_one(TemplateVersion, (template_id, 1))
        assert made.parsed.price == Price(currency="EUR", per_remix=1)

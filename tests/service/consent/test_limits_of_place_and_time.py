"""Territories and dates, and attempts to get past them."""

from datetime import UTC, datetime, timedelta
from typing import Literal

import iso3166
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from service.auth import Principal
from service.consent import gate, standing
from service.consent.models import Grant
from service.consent.payload import GrantPayload, decode_payload
from service.consent.refusals import (
    GrantExpired,
    GrantNotYetValid,
    JobDeadlinePassed,
    TerritoryNotGranted,
)
from service.jobs.models import Job
from service.templates.terms import TemplateTerms
from tests.jobs_house import House
from tests.limit_tries import ONE, many
from tests.stories import TERMS, Granted

CODES = sorted(iso3166.countries_by_alpha2)


@ONE
@pytest.mark.attack("limit of a grant passed")
def test_no_territory_but_a_granted_one_gets_in(house: House) -> None:
    granted = house.grant(territories=["DE", "AT", "CH"])
    odd = st.sampled_from(
        ["de", "De", "DE ", " DE", "DE\n", "DЕ", "ＤＥ", "*", "", "D", "DEU", "DE,FR"]
    )

    @many(40)
    @given(territory=st.one_of(st.none(), st.sampled_from(CODES), odd, st.text(max_size=4)))
    def attempt(territory: str | None) -> None:
        listener = Principal(subject="lena", role="listener", territory=territory)
        if territory in ("DE", "AT", "CH"):
            house.admit(granted, f"job_{territory}_{datetime.now(UTC).timestamp()}", listener)
            return
        with pytest.raises(TerritoryNotGranted) as refusal:
            house.ask(granted, listener)
        assert refusal.value.document()["limit"] == "territories"

    attempt()
    assert house.count(Job) == 0


@many(60)
@given(granted=st.lists(st.sampled_from([*CODES, "*"]), min_size=1, max_size=4), asked=st.data())
def test_everywhere_is_everywhere_and_a_list_is_a_list(
    granted: list[str], asked: st.DataObject
) -> None:
    try:
        terms = TemplateTerms.model_validate({**TERMS, "territories": granted})
    except ValidationError:
        assert len(set(granted)) < len(granted) or ("*" in granted and len(granted) > 1)
        return
    territory = asked.draw(st.one_of(st.none(), st.sampled_from(CODES)))
    assert terms.covers(territory) == (granted == ["*"] or territory in granted)


START = datetime(2026, 6, 1, tzinfo=UTC)


MOMENTS = st.integers(-3, 3).map(lambda hours: START + timedelta(hours=hours))


@ONE
@pytest.mark.attack("limit of a grant passed")
def test_only_the_time_that_both_dates_cover_is_granted(house: House) -> None:
    granted = house.grant()
    with house.database.snapshot() as session:
        payload = decode_payload(session.get_one(Grant, granted.grant_id).payload)

    @many(150)
    @given(
        nbf=MOMENTS,
        exp=MOMENTS,
        not_before=st.one_of(st.none(), MOMENTS),
        not_after=st.one_of(st.none(), MOMENTS),
        moment=MOMENTS,
        off=st.sampled_from([-1, 0, 1]),
    )
    def attempt(
        nbf: datetime,
        exp: datetime,
        not_before: datetime | None,
        not_after: datetime | None,
        moment: datetime,
        off: int,
    ) -> None:
        moment += timedelta(microseconds=off)
        dated = _dated(payload, nbf, exp, not_before, not_after)
        begins = max(filter(None, (nbf, not_before)))
        ends = min(filter(None, (exp, not_after)))
        assert standing.end_of(dated) == ends
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(standing, "now", lambda: moment)
            if begins <= moment < ends:
                standing.require_in_time(dated)
                return
            with pytest.raises((GrantNotYetValid, GrantExpired)) as refusal:
                standing.require_in_time(dated)
        assert refusal.value.document()["changed_by"]

    attempt()


def _dated(
    payload: GrantPayload,
    nbf: datetime,
    exp: datetime,
    not_before: datetime | None,
    not_after: datetime | None,
) -> GrantPayload:
    allowed = payload.authorization_details
    terms = allowed.terms.model_copy(update={"not_before": not_before, "not_after": not_after})
    return payload.model_copy(
        update={
            "nbf": int(nbf.timestamp()),
            "exp": int(exp.timestamp()),
            "authorization_details": allowed.model_copy(update={"terms": terms}),
        }
    )


@ONE
@pytest.mark.parametrize("which", ["grant", "template"])
def test_a_job_that_was_let_in_does_not_outlive_the_dates(
    house: House, which: Literal["grant", "template"], monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = datetime.now(UTC) + timedelta(minutes=2)
    owner = house.story.owner("Ada")
    terms = {"not_after": ends.isoformat()} if which == "template" else {}
    template = house.story.template(owner, house.story.track(owner), **terms)
    days = 1.0 if which == "template" else 2 / 1440
    grant_id, payload = house.story.grant(owner, template, days=days)
    house.story.sign(owner, grant_id, payload)
    if which == "grant":
        ends = datetime.fromtimestamp(decode_payload(payload).exp, UTC)
    job = house.job(house.ask(Granted((owner,), "", template, 1, grant_id)))
    assert job.deadline <= ends
    monkeypatch.setattr(gate, "now", lambda: ends)
    with house.database.snapshot() as session:
        for stage in ("separate", "regenerate", "mix", "stamp", "publish"):
            with pytest.raises(JobDeadlinePassed):
                gate.permit(session, house.keys, job.token, stage, choices=job.choices)

"""Every limit that the owners sign, and attempts to get past it: alone, in any order, at once."""

import threading
import unicodedata
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import iso3166
import pytest
import rfc8785
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as tries
from hypothesis import strategies as st
from pydantic import ValidationError
from sqlalchemy import func, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from checkpoints.errors import CheckpointLicence
from service.auth import Principal
from service.catalog.models import Track
from service.consent import closing, gate, standing
from service.consent.models import Grant, QuotaTotal
from service.consent.payload import GrantPayload, decode_payload
from service.consent.quota import quota_used
from service.consent.refusals import (
    ConsentRefused,
    GrantExpired,
    GrantNotYetValid,
    JobDeadlinePassed,
    QuotaExhausted,
    SignatureInvalid,
    TakenDown,
    TemplateMismatch,
    TerritoryNotGranted,
)
from service.jobs.cancel import cancel
from service.jobs.finish import finish
from service.jobs.models import Job, JobState
from service.settings import Settings
from service.templates.capability import PartNotSupported, cards_of
from service.templates.choices import ChoiceOutsideTemplate, Choices, check_choices
from service.templates.models import TemplateVersion
from service.templates.price import PriceNotPossible
from service.templates.terms import TemplateTerms
from service.templates.versions import canonical_template, get_version
from tests.cards import CARDS, STYLES
from tests.jobs_house import LISTENER, House
from tests.stories import TERMS, Granted, Story

ONE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
WAIT = 120.0
THREADS = 20
"""More than the database has connections (15): what waits is let in as one ends."""
OPERATOR = Principal(subject="op", role="operator")
CODES = sorted(iso3166.countries_by_alpha2)


def many(examples: int) -> tries:
    """So many examples, the same ones at every run; each brings its own rows."""
    return tries(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        # Shrinking would make a story again and again; the first failure says enough.
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )


@pytest.fixture
def house(story: Story, settings: Settings) -> House:
    return House(story, settings)


def end(house: House, job_id: str, how: str) -> None:
    with house.database.transaction() as session:
        if how == "cancel":
            cancel(session, job_id)
        else:
            assert finish(session, job_id, JobState(how), how)


# Quotas ------------------------------------------------------------------------------------------

ASKS = st.tuples(st.just("ask"), st.integers(0, 2))
ENDS = st.tuples(
    st.sampled_from(["published", "failed", "refused", "revoked", "cancel"]), st.integers(0, 9)
)


@ONE
@many(12)
@given(
    each=st.integers(1, 3),
    total=st.one_of(st.none(), st.integers(1, 4)),
    moves=st.lists(st.one_of(ASKS, ASKS, ENDS, st.just(("version", 0))), max_size=12),
)
def test_no_order_of_requests_and_ends_gets_past_a_quota(
    house: House, each: int, total: int | None, moves: list[tuple[str, int]]
) -> None:
    """Against a model: what is made or asked for counts, what made nothing does not."""
    terms: dict[str, Any] = {"quota_per_listener": each, "quota_total": total}
    granted = house.grant(**terms)
    holds: list[tuple[str, str]] = []
    running: list[str] = []
    for move, number in moves:
        if move == "version":
            # A new version with a grant of its own is no new quota.
            owner = granted.owners[0]
            version = house.story.version(owner, granted.template_id, **terms)
            house.story.sign(owner, *house.story.grant(owner, granted.template_id, version))
        elif move == "ask":
            who = Principal(subject=f"listener-{number}", role="listener")
            held = sum(subject == who.subject for _, subject in holds)
            if held < each and (total is None or len(holds) < total):
                job_id = house.ask(granted, who)
                holds.append((job_id, who.subject))
                running.append(job_id)
                continue
            with pytest.raises(QuotaExhausted) as refusal:
                house.ask(granted, who)
            document = refusal.value.document()
            assert document["limit"] == ("quota_per_listener" if held >= each else "quota_total")
            assert document["changed_by"]
        elif running:
            job_id = running.pop(number % len(running))
            end(house, job_id, move)
            if move != "published":
                holds = [(job, who) for job, who in holds if job != job_id]
    with house.database.snapshot() as session:
        for number in range(3):
            name = f"listener-{number}"
            held = sum(subject == name for _, subject in holds)
            assert quota_used(session, granted.template_id, name) == held
        row = session.get(QuotaTotal, granted.template_id)
        assert (row.taken if row else 0) == (0 if total is None else len(holds))


def test_two_hundred_at_once_against_ten_in_all(house: House) -> None:
    """Ten are let in; places of those that made nothing are free again; ten are published.

    As in the API, the requests wait for threads, and these for connections.
    """
    granted = house.grant(quota_total=10)

    def ask_at_once(count: int) -> list[str]:
        threads = min(count, THREADS)
        start = threading.Barrier(threads)

        def ask(number: int) -> str | None:
            if number < threads:
                start.wait(WAIT)
            who = Principal(subject=f"one-{number}", role="listener")
            while True:
                try:
                    return house.ask(granted, who)
                except QuotaExhausted as refusal:
                    assert refusal.document()["limit"] == "quota_total"
                    return None
                except (OperationalError, PoolTimeout):
                    # A machine too busy to answer in time says "try again later".
                    continue

        with ThreadPoolExecutor(threads) as pool:
            return [job for job in pool.map(ask, range(count)) if job is not None]

    running = ask_at_once(200)
    assert len(running) == 10
    for how in ("failed", "refused", "revoked", "cancel"):
        end(house, running.pop(), how)
    again = ask_at_once(12)
    assert len(again) == 4
    for job_id in running + again:
        end(house, job_id, "published")
    assert ask_at_once(2) == []
    with house.database.snapshot() as session:
        states = Counter(session.scalars(select(Job.state)))
        taken = session.get_one(QuotaTotal, granted.template_id).taken
    assert states == {"published": 10, "failed": 1, "refused": 1, "revoked": 1, "cancelled": 1}
    assert taken == 10


def test_one_place_between_two_limits_at_once(house: House) -> None:
    """A request that one quota lets in and the other refuses takes a place of neither."""
    granted = house.grant(quota_per_listener=1, quota_total=3)
    start = threading.Barrier(12)

    def ask(number: int) -> str:
        start.wait(WAIT)
        try:
            house.ask(granted, Principal(subject=f"one-{number % 4}", role="listener"))
        except QuotaExhausted:
            return "refused"
        return "asked"

    with ThreadPoolExecutor(12) as pool:
        assert Counter(pool.map(ask, range(12))) == {"asked": 3, "refused": 9}
    with house.database.snapshot() as session:
        held = [quota_used(session, granted.template_id, f"one-{n}") for n in range(4)]
        assert sorted(held) == [0, 1, 1, 1]


# Territories -------------------------------------------------------------------------------------


@ONE
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


# Dates -------------------------------------------------------------------------------------------

START = datetime(2026, 6, 1, tzinfo=UTC)
MOMENTS = st.integers(-3, 3).map(lambda hours: START + timedelta(hours=hours))


@ONE
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


# Price, commerce, checkpoints --------------------------------------------------------------------

MONEY = st.one_of(st.just(0), st.integers(1, 10**9))


@ONE
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


# Styles and free text ----------------------------------------------------------------------------


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


# On revocation -----------------------------------------------------------------------------------


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


# The rows behind the limits ----------------------------------------------------------------------

SIGNED: dict[str, Any] = {
    "quota_per_listener": 1,
    "quota_total": 1,
    "territories": ["DE"],
    "not_after": "2100-01-01T00:00:00Z",
    "commercial": True,
    "price": {"currency": "EUR", "per_remix": 99},
    "styles": ["rock"],
    "on_revocation": "takedown",
}
WIDER: dict[str, Any] = {
    "quota_per_listener": 1000,
    "quota_total": None,
    "territories": ["*"],
    "not_after": None,
    "commercial": False,
    "price": {"currency": "EUR", "per_remix": 0},
    "styles": ["rock", "funk"],
    "free_text": True,
    "on_revocation": "keep",
    "checkpoints": ["test-drums", "test-separator", "test-free-text"],
}


@ONE
@pytest.mark.parametrize("limit", WIDER)
def test_rows_that_say_more_than_was_signed_open_nothing(house: House, limit: str) -> None:
    """Whoever may write to the database widens one limit, in one row, in two, or in all three."""
    granted = house.grant(**SIGNED)
    listener = Principal(subject="lena", role="listener", territory="DE")
    with house.database.transaction() as session:
        for verb in ("update", "delete"):
            session.execute(text(f"DROP TRIGGER template_versions_no_{verb}"))
        made = get_version(session, granted.template_id, 1)
        before = made.parsed
        wide = TemplateTerms.model_validate({**before.model_dump(mode="json"), limit: WIDER[limit]})
        assert wide != before
        canonical = canonical_template(granted.template_id, 1, granted.track_id, wide)
        grant = session.get_one(Grant, granted.grant_id)
        signed = decode_payload(grant.payload)
    house.admit(granted, "job_honest", listener)
    with house.database.transaction() as session:
        gate.release_quota(session, "job_honest")

    terms = rfc8785.dumps(wide.model_dump(mode="json")).decode()
    _write(house, "template_versions", "template_id", granted.template_id, terms=terms)
    with pytest.raises(TemplateMismatch):
        house.admit(granted, "job_1", listener)
    sha256 = signed.authorization_details.template_sha256
    _write(house, "template_versions", "template_id", granted.template_id, canonical=canonical)
    with pytest.raises(TemplateMismatch):
        house.admit(granted, "job_2", listener)
    allowed = signed.authorization_details.model_copy(update={"terms": wide})
    assert allowed.template_sha256 == sha256
    payload = signed.model_copy(update={"authorization_details": allowed}).encode()
    _write(house, "grants", "id", granted.grant_id, payload=payload)
    with pytest.raises((TemplateMismatch, SignatureInvalid)):
        house.admit(granted, "job_3", listener)
    with house.database.snapshot() as session:
        assert session.scalar(select(func.count()).select_from(Job)) == 0


def _write(house: House, table: str, key: str, name: str, **columns: Any) -> None:
    with house.database.transaction() as session:
        for column, value in columns.items():
            session.execute(
                text(f"UPDATE {table} SET {column} = :value WHERE {key} = :name"),  # noqa: S608
                {"value": value, "name": name},
            )


def test_every_limit_of_the_terms_is_attacked_here() -> None:
    """A limit that comes later has to come here too."""
    elsewhere = {
        # tests/service/templates/test_choices.py and test_controls.py
        *("part", "tempo_percent", "key_semitones", "guidance", "length_seconds"),
        *("densities", "fills", "swing", "redo_seconds"),
        # One value each: tests/service/templates/test_terms.py
        *("training", "voice_cloning"),
    }
    here = {*SIGNED, *WIDER, "not_before"}
    assert here | elsewhere == set(TemplateTerms.model_fields)

"""The gate's record: every decision is in it, and only those it concerns can read it."""

from collections.abc import Sequence
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.auth import Principal
from service.consent import closing, gate
from service.consent.models import GateDecision
from service.consent.record.decisions import decisions
from service.errors import NotFound, Problem
from service.jobs.acceptance import accept
from service.provenance.policy import token_sha256
from tests.stories import Granted, Story

OPERATOR = Principal(subject="op", role="operator")


def read(story: Story, who: Principal, **wanted: Any) -> Sequence[GateDecision]:
    with story.database.snapshot() as session:
        found = decisions(session, who, **wanted)
        session.expunge_all()
        return found


def doors(found: Sequence[GateDecision]) -> list[tuple[str, bool, str | None]]:
    return [(row.door, row.opened, row.reason) for row in reversed(found)]


def accepted(story: Story, granted: Granted, listener: Principal, job_id: str) -> gate.Admission:
    admission = story.admit(granted, listener, job_id)
    with story.database.transaction() as session:
        accept(
            session,
            story.keys,
            story.settings,
            admission,
            job_id=job_id,
            subject=listener.subject,
            audio_seconds=30.0,
        )
    return admission


def test_a_remix_leaves_its_whole_way_through_the_gate(story: Story) -> None:
    granted, lena = story.granted(), story.listener("lena")
    admission = accepted(story, granted, lena, "job_a")
    choices = admission.choices.model_dump(mode="json") if admission.choices else None
    with story.database.snapshot() as session:
        permit = gate.permit(session, story.keys, admission.token, "separate", choices=choices)
        gate.check_live(session, permit)
    with story.database.transaction() as session:
        closing.revoke(session, granted.owners[0].principal, granted.grant_id)
    with pytest.raises(Problem), story.database.snapshot() as session:
        gate.check_live(session, permit)
    found = read(story, granted.owners[1].principal)
    assert doors(found) == [
        ("remix", True, None),
        ("consume", True, None),
        ("stage", True, None),
        ("step", False, "consent-revoked"),
    ]
    for row in found:
        assert row.token_sha256 == token_sha256(admission.claims.jti)
        assert (row.track_id, row.job_id) == (granted.track_id, "job_a")
        assert (row.grant_id, row.generation) == (granted.grant_id, 1)


def test_a_refusal_stays_on_record_though_its_transaction_is_rolled_back(story: Story) -> None:
    granted = story.granted(territories=["DE"])
    with pytest.raises(Problem, match="granted in DE"):
        story.admit(granted, story.listener(territory="FR"))
    (row,) = read(story, granted.owners[0].principal)
    assert (row.door, row.opened, row.reason) == ("remix", False, "territory-not-granted")
    assert row.template_id == granted.template_id
    assert row.grant_id == granted.grant_id
    assert "FR" in (row.detail or "")


def test_an_opened_door_is_recorded_only_with_what_it_opened_for(story: Story) -> None:
    granted = story.granted()
    with pytest.raises(RuntimeError), story.database.transaction() as session:
        gate.permit_upload(session, granted.owners[0].principal, granted.track_id)
        raise RuntimeError
    assert read(story, OPERATOR) == []


def test_what_is_not_there_concerns_nobody(story: Story) -> None:
    for ask in (
        lambda s: gate.permit_listen(s, story.listener(), "trk_none"),
        lambda s: gate.permit_upload(s, OPERATOR, "trk_none"),
    ):
        with pytest.raises(NotFound), story.database.snapshot() as session:
            ask(session)
    assert read(story, OPERATOR) == []


@pytest.mark.attack("store down")
def test_a_decision_that_cannot_be_recorded_is_not_taken(story: Story) -> None:
    granted = story.granted()

    def listen() -> None:
        with story.database.snapshot() as session:
            gate.permit_listen(session, granted.owners[0].principal, granted.track_id)

    listen()
    with story.database.transaction() as session:
        session.execute(GateDecision.__table__.delete())
        GateDecision.__table__.drop(session.connection())
    with pytest.raises(Exception, match="gate_decisions"):
        listen()


def test_hearing_the_same_thing_again_is_one_decision(story: Story) -> None:
    granted = story.granted()
    for who in (*(owner.principal for owner in granted.owners), story.listener()):
        for _ in range(3):
            with story.database.snapshot() as session:
                gate.permit_listen(session, who, granted.track_id)
    assert doors(read(story, OPERATOR)) == [("listen", True, None)] * 3


@pytest.mark.attack("another tenant's things by identifier")
def test_only_those_it_concerns_can_read_a_decision(story: Story) -> None:
    granted, other = story.granted(), story.granted()
    lena, mia = story.listener("lena"), story.listener("mia")
    accepted(story, granted, lena, "job_a")
    accepted(story, other, mia, "job_b")
    with story.database.snapshot() as session:
        gate.permit_upload(session, granted.owners[0].principal, granted.track_id)

    def jobs(who: Principal) -> list[tuple[str, str | None]]:
        return [(row.door, row.job_id) for row in reversed(read(story, who))]

    hers = [("remix", "job_a"), ("consume", "job_a")]
    for owner in granted.owners:
        assert jobs(owner.principal) == [*hers, ("upload", None)]
    assert jobs(lena) == hers
    assert jobs(mia) == [("remix", "job_b"), ("consume", "job_b")]
    assert len(read(story, OPERATOR)) == 5
    assert jobs(story.owner("Eve").principal) == []
    assert jobs(story.listener("nina")) == []
    # The same subject in another role is another caller, whatever it asks for.
    assert jobs(Principal(subject="lena", role="artist")) == []
    subject = granted.owners[0].principal.subject
    assert jobs(Principal(subject=subject, role="listener")) == []
    for wanted in ({"track_id": granted.track_id}, {"job_id": "job_a"}):
        assert read(story, mia, **wanted) == []


def test_the_record_is_read_page_by_page(story: Story, client: TestClient) -> None:
    granted = story.granted(territories=["DE"])
    for territory in ("FR", "DE", "US"):
        who = story.listener("lena", territory)
        try:
            story.admit(granted, who)
        except Problem:
            continue
    mine = story.headers(granted.owners[0].principal)
    seen: list[dict[str, Any]] = []
    page = client.get("/v1/decisions?limit=2", headers=mine).json()["items"]
    while page:
        seen += page
        page = client.get(f"/v1/decisions?limit=2&before={page[-1]['id']}", headers=mine).json()[
            "items"
        ]
    assert [row["opened"] for row in seen] == [False, True, False]
    shut = client.get("/v1/decisions?opened=false", headers=mine).json()["items"]
    assert [row["reason"] for row in shut] == ["territory-not-granted"] * 2
    assert "caller_sha256" not in shut[0]
    assert "lena" not in str(seen)
    assert client.get("/v1/decisions").status_code == 401

"""Rows that say more than was signed, for every limit that there is."""

from typing import Any

import pytest
import rfc8785
from sqlalchemy import func, select, text

from service.auth import Principal
from service.consent import gate
from service.consent.models import Grant
from service.consent.payload import decode_payload
from service.consent.refusals import (
    SignatureInvalid,
    TemplateMismatch,
)
from service.jobs.models import Job
from service.templates.terms import TemplateTerms
from service.templates.versions import canonical_template, get_version
from tests.jobs_house import House
from tests.limit_tries import ONE

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
@pytest.mark.attack("limit of a grant passed")
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

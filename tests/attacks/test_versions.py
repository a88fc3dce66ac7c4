"""An older version of a template, or another listener's token, where a newer or another counts."""

from typing import Any

import pytest

from service.consent import closing, gate
from service.consent.models import Grant
from service.consent.refusals import (
    ConsentMissing,
    ConsentRevoked,
    JobTokenInvalid,
    JobTokenReplayed,
    TemplateMismatch,
)
from service.templates.choices import Choices
from tests.stories import Granted, Story


def admit(story: Story, granted: Granted, version: int | None, job_id: str = "job_x") -> Any:
    with story.database.transaction() as session:
        return gate.admit(
            session,
            story.keys,
            story.settings,
            story.listener(),
            granted.template_id,
            version,
            Choices.model_validate({"style": "rock"}),
            job_id=job_id,
        )


def newer(story: Story, granted: Granted, **terms: Any) -> str:
    """Version 2, signed by all; gives its grant."""
    version = story.version(granted.owners[0], granted.template_id, **terms)
    grant_id, payload = story.grant(granted.owners[0], granted.template_id, version)
    for owner in granted.owners:
        story.sign(owner, grant_id, payload)
    return grant_id


@pytest.mark.attack("older template version")
def test_a_revoked_version_is_not_asked_back_by_its_number(story: Story) -> None:
    granted = story.granted(quota_per_listener=100)
    newer(story, granted, quota_per_listener=1)
    with story.database.transaction() as session:
        closing.revoke(session, granted.owners[0].principal, granted.grant_id)
    assert admit(story, granted, None).claims.tpl == f"{granted.template_id}@2"
    with pytest.raises(ConsentRevoked):
        admit(story, granted, 1, "job_y")


@pytest.mark.attack("older template version")
def test_a_version_that_nobody_signed_is_not_asked_for_by_its_number(story: Story) -> None:
    granted = story.granted()
    story.version(granted.owners[0], granted.template_id, quota_per_listener=1000)
    for version in (2, 3, 10**6):
        with pytest.raises(ConsentMissing):
            admit(story, granted, version)


@pytest.mark.attack("older template version")
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("newest", [True, False], ids=["newer to older", "older to newer"])
def test_a_grant_s_row_that_points_at_another_version_opens_nothing(
    story: Story, newest: bool
) -> None:
    granted = story.granted(quota_per_listener=100)
    second = newer(story, granted, quota_per_listener=1)
    moved, other, target = (
        (second, granted.grant_id, 1) if newest else (granted.grant_id, second, 2)
    )
    with story.database.transaction() as session:
        session.get_one(Grant, other).state = "superseded"
        session.get_one(Grant, moved).template_version = target
    with pytest.raises(TemplateMismatch):
        admit(story, granted, target)


@pytest.mark.attack("token for another listener or job")
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_token_that_was_minted_for_one_listener_makes_no_job_of_another(story: Story) -> None:
    granted = story.granted()
    lena = story.admit(granted, story.listener("lena"), "job_lena")
    mallory = story.admit(granted, story.listener("mallory"), "job_mallory")
    assert lena.claims.sub != mallory.claims.sub
    with story.database.transaction() as session:
        with pytest.raises(JobTokenInvalid):
            gate.consume(session, story.keys, lena.token, "job_mallory")
        gate.consume(session, story.keys, lena.token, "job_lena")
        with pytest.raises(JobTokenReplayed):
            gate.consume(session, story.keys, lena.token, "job_lena")

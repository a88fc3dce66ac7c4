"""What was signed before templates had controls: the same bytes, the same hashes, no more offered.

The literals are what the service wrote then.
"""

import hashlib
import json
from typing import Any

import pytest
import rfc8785

from service.consent import gate
from service.consent.models import Grant
from service.database import new_id
from service.jobs.models import Job
from service.remixes.schemas import NewRemix
from service.templates.choices import ChoiceOutsideTemplate, Choices, choices_sha256
from service.templates.models import Draft, Template, TemplateVersion
from service.templates.terms import TemplateTerms
from service.templates.versions import canonical_template
from tests.jobs_house import House
from tests.stories import Granted, Story

TERMS = (
    '{"checkpoints":["test-controls","test-separator"],"commercial":false,"free_text":false,'
    '"guidance":{"max":4,"min":0},"key_semitones":{"max":2,"min":-2},'
    '"length_seconds":{"max":3600,"min":0},"not_after":null,"not_before":null,"part":"drums",'
    '"quota_per_listener":3,"styles":["rock","funk"],"tempo_percent":{"max":10,"min":-10},'
    '"territories":["*"],"training":"notAllowed","voice_cloning":false}'
)
CHOICES = {
    "style": "funk",
    "tempo_percent": -2.5,
    "key_semitones": 0,
    "guidance": 3.0,
    "seed": 7,
    "format": "mp3",
}
CHOICES_SHA256 = "04004edb8407e31bd08345485370990806b56613937eaca53b3911e3c0249671"
REQUEST_SHA256 = "c7754b4562e36e34924b668e5559ddd626610e7ac0688793d63caa4401d5417a"
TERMS_SHA256 = "e0b068d9530b3114e63a57bff7608d893ab090edb88e792a4ebf35b1b521f05e"
NEW = {"densities", "fills", "swing", "redo_seconds"}


@pytest.fixture
def granted(story: Story) -> Granted:
    """An open grant of a version whose row holds what was written then."""
    owners = (story.owner("Ada"), story.owner("Small Label", "label"))
    track = story.track(*owners)
    template = new_id("tpl")
    document = f'{{"template":"{template}@1","terms":{TERMS},"track":"{track}"}}'
    with story.database.transaction() as session:
        session.add(Template(id=template, track_id=track, created_by=owners[0].id))
        session.flush()
        session.add(
            TemplateVersion(
                template_id=template,
                version=1,
                track_id=track,
                terms=json.loads(TERMS),
                canonical=document.encode(),
                sha256=hashlib.sha256(document.encode()).hexdigest(),
                created_by=owners[0].id,
            )
        )
        session.flush()
        session.add(Draft(template_id=template, version=1))
    grant_id, payload = story.grant(owners[0], template)
    for owner in owners:
        story.sign(owner, grant_id, payload)
    return Granted(owners, track, template, 1, grant_id)


def test_an_old_versions_bytes_are_the_same() -> None:
    text = TERMS.replace("test-controls", "test-drums")
    terms = TemplateTerms.model_validate_json(text)
    assert rfc8785.dumps(terms.model_dump(mode="json")).decode() == text
    canonical = canonical_template("tpl_1", 1, "trk_1", terms)
    assert hashlib.sha256(canonical).hexdigest() == TERMS_SHA256


def test_an_old_grant_still_admits_and_its_payload_gains_nothing(
    story: Story, granted: Granted
) -> None:
    admission = story.admit(granted, style="funk", tempo_percent=-2.5)
    assert admission.claims.tpl == f"{granted.template_id}@1"
    with story.database.snapshot() as session:
        payload = json.loads(session.get_one(Grant, granted.grant_id).payload)
    assert not payload["authorization_details"]["terms"].keys() & NEW


@pytest.mark.parametrize("asked", [{"density": "busy"}, {"fills": False}, {"swing": True}])
def test_what_was_not_signed_is_not_offered(
    story: Story, granted: Granted, asked: dict[str, Any]
) -> None:
    with pytest.raises(ChoiceOutsideTemplate, match=next(iter(asked))):
        story.admit(granted, **asked)


def test_a_part_of_what_was_granted_may_be_asked_for(story: Story, granted: Granted) -> None:
    admission = story.admit(granted, redo=[{"start": 8, "end": 16}])
    assert admission.choices is not None
    assert admission.claims.params_sha256 == admission.choices.sha256()


def test_a_job_that_waited_through_the_upgrade_goes_on(story: Story, granted: Granted) -> None:
    house = House(story, story.settings)
    job_id = house.ask(granted, **CHOICES)
    with story.database.snapshot() as session:
        job = session.get_one(Job, job_id)
        assert job.choices == CHOICES
        assert job.choices_sha256 == CHOICES_SHA256 == choices_sha256(CHOICES)
        gate.permit(session, story.keys, job.token, "separate", choices=job.choices)


def test_a_repeated_request_is_still_the_same_request() -> None:
    order = NewRemix(template_id="tpl_1", choices=Choices(style="funk", seed=7))
    digest = hashlib.sha256(rfc8785.dumps(order.model_dump(mode="json"))).hexdigest()
    assert digest == REQUEST_SHA256


def test_a_new_version_states_what_may_be_chosen(story: Story, granted: Granted) -> None:
    story.version(granted.owners[0], granted.template_id, checkpoints=["test-controls"])
    with story.database.snapshot() as session:
        made = session.get_one(TemplateVersion, (granted.template_id, 2))
        assert made.terms["densities"] == ["sparse", "normal", "busy"]
        assert (made.terms["fills"], made.terms["swing"]) == (True, True)
        assert made.terms["redo_seconds"] == {"min": 0.0, "max": 3600.0}
        assert made.canonical == canonical_template(made.template_id, 2, made.track_id, made.parsed)

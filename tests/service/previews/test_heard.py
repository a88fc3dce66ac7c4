"""A signature keeps which previews its party had heard, and nothing that it heard later."""

from dataclasses import replace

import pytest
from joserfc.jwk import OKPKey
from sqlalchemy import select

from service.catalog.models import Party, PartyKey
from service.consent.models import GrantSignature, Hearing
from service.consent.previews import heard_by, note_hearing
from service.database import now
from tests.jobs_house import at_once
from tests.previews_house import Draft, Parlour
from tests.stories import Owner

SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def listen(parlour: Parlour, owner: Owner, job_id: str, sha256: str) -> None:
    with parlour.database.transaction() as session:
        note_hearing(session, owner.id, job_id, sha256)


def test_each_signature_keeps_what_its_party_had_heard(parlour: Parlour) -> None:
    draft = parlour.draft()
    ada, label = draft.owners
    jobs = {parlour.preview(draft, seed=seed): "" for seed in range(3)}
    for job_id in jobs:
        jobs[job_id] = parlour.publish(job_id).sha256
    one, two, three = jobs
    second = parlour.story.version(ada, draft.template_id)
    other = Draft(draft.owners, draft.track_id, draft.template_id, second)
    elsewhere = parlour.preview(other)
    listen(parlour, ada, elsewhere, parlour.publish(elsewhere).sha256)
    for job_id in (two, one, two):
        listen(parlour, ada, job_id, jobs[job_id])
    grant_id, payload = parlour.story.grant(ada, draft.template_id)
    parlour.story.sign(ada, grant_id, payload)
    assert parlour.heard(grant_id) == {ada.id: [jobs[two], jobs[one]]}
    # What is heard afterwards, and signing again, change nothing.
    listen(parlour, ada, three, jobs[three])
    parlour.story.sign(ada, grant_id, payload)
    assert parlour.heard(grant_id)[ada.id] == [jobs[two], jobs[one]]
    # The other owner heard nothing, and its signature says so.
    assert parlour.story.sign(label, grant_id, payload) == "open"
    assert parlour.heard(grant_id)[label.id] == []
    # That a file went since does not unsay that it was heard.
    parlour.delete(one, label.principal)
    parlour.sweep()
    assert parlour.heard(grant_id)[ada.id] == [jobs[two], jobs[one]]
    with parlour.database.snapshot() as session:
        assert heard_by(session, ada.id, draft.template_id, 1) == [
            jobs[n] for n in (two, one, three)
        ]


def test_a_hearing_is_noted_once(parlour: Parlour) -> None:
    draft = parlour.draft()
    ada, _ = draft.owners
    job_id = parlour.preview(draft)
    sha256 = parlour.publish(job_id).sha256
    at_once([lambda: listen(parlour, ada, job_id, sha256)] * 4)
    with parlour.database.snapshot() as session:
        first = session.scalars(select(Hearing)).one().heard_at
    listen(parlour, ada, job_id, "0" * 64)
    with parlour.database.snapshot() as session:
        again = session.scalars(select(Hearing)).one()
        assert (again.heard_at, again.file_sha256) == (first, sha256)


@SQLITE
def test_signing_again_after_a_lost_key_is_a_new_approval(parlour: Parlour) -> None:
    """The earlier signature stays on record with what it had heard; the new one has its own."""
    draft = parlour.draft()
    ada, _ = draft.owners
    one, two = (parlour.preview(draft, seed=seed) for seed in range(2))
    first, second = parlour.publish(one).sha256, parlour.publish(two).sha256
    listen(parlour, ada, one, first)
    grant_id, payload = parlour.story.grant(ada, draft.template_id)
    parlour.story.sign(ada, grant_id, payload)
    listen(parlour, ada, two, second)
    fresh = OKPKey.generate_key("Ed25519")
    with parlour.database.transaction() as session:
        kept = session.get_one(GrantSignature, (grant_id, ada.id))
        old = session.get_one(PartyKey, kept.kid)
        old.state, old.lost_since = "lost", kept.signed_at
        session.flush()
        party = session.get_one(Party, ada.id)
        party.kid, party.public_key = fresh.thumbprint(), dict(fresh.as_dict(private=False))
        session.add(
            PartyKey(
                kid=party.kid,
                party_id=ada.id,
                public_key=party.public_key,
                custody="self",
                state="active",
                since=now(),
            )
        )
    parlour.story.sign(replace(ada, key=fresh), grant_id, payload)
    with parlour.database.snapshot() as session:
        kept = session.get_one(GrantSignature, (grant_id, ada.id))
        assert (kept.kid, kept.heard) == (fresh.thumbprint(), [first, second])
        assert [record["heard"] for record in kept.earlier or []] == [[first]]

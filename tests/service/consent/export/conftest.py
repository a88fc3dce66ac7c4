"""One exported grant with everything that can stand in one, for all the attacks on it."""

import copy
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from joserfc.jwk import OKPKey

from service.auth import Principal, ServiceKeys
from service.auth.custody import Custody
from service.auth.seal import SealKeys, public_members
from service.catalog import party_keys
from service.catalog.possession import rotation_statements
from service.catalog.schemas import NewPartyKey
from service.consent.export.checking import Report, check_export, read_keys
from service.consent.export.composing import export_grant
from service.consent.grants import add_signature
from service.consent.mandates import giving
from service.consent.mandates.payload import mandate_reference
from service.consent.mandates.schemas import NewMandate
from service.consent.models import GrantSignature
from service.consent.signatures import EXPORT_TYPE, MANDATE_TYPE, sign_payload
from service.database import Database, now
from service.settings import Settings
from tests.stories import Granted, Owner, Story

Document = dict[str, Any]
OPERATOR = Principal(subject="op", role="operator")


@dataclass(frozen=True)
class Exported:
    """A document, the keys that signed it, and the means to forge one like it."""

    document: Document
    granted: Granted
    keys: Document
    service_keys: Document

    def copy(self) -> Document:
        return copy.deepcopy(self.document)

    def owner(self, name: str) -> Owner:
        return next(owner for owner in self.granted.owners if owner.name == name)

    def check(
        self,
        document: Document | bytes | None = None,
        *,
        keys: Document | None = None,
        service_keys: Document | None = None,
        at: datetime | None = None,
    ) -> Report:
        content = self.document if document is None else document
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        return check_export(
            raw,
            at=at or now(),
            party_keys=None if keys is None else read_keys(json.dumps(keys).encode()),
            service_keys=None
            if service_keys is None
            else read_keys(json.dumps(service_keys).encode()),
        )


def jwks(*owners: Owner) -> Document:
    return {"keys": [{**public_members(owner.key), "party": owner.id} for owner in owners]}


def resealed(document: Document, key: OKPKey | None = None) -> Document:
    """The document under a seal of somebody else's, as who has no key of the service makes it."""
    key = key or OKPKey.generate_key("Ed25519")
    stated = {name: value for name, value in document.items() if name != "seal"}
    seal = sign_payload(rfc8785.dumps(stated), key, EXPORT_TYPE)
    return {**stated, "seal": {"jwk": public_members(key), **seal}}


def export(story: Story, who: Principal, grant_id: str) -> Document:
    with story.database.snapshot(steady=True) as session:
        return export_grant(session, story.settings, SealKeys(story.settings), who, grant_id)


def given_mandate(story: Story, grantor: Owner, agent: Owner) -> tuple[str, bytes]:
    new = NewMandate.model_validate(
        {
            "grantor": grantor.id,
            "agent": agent.id,
            "tracks": "*",
            "expires_at": now() + timedelta(days=30),
        }
    )
    with story.database.transaction() as session:
        made = giving.create_mandate(session, story.settings, grantor.principal, new)
        signature = sign_payload(made.payload, grantor.key, MANDATE_TYPE)
        giving.sign_mandate(session, grantor.principal, made.id, **signature)
        return made.id, made.payload


def rotated(story: Story, owner: Owner) -> Owner:
    new = OKPKey.generate_key("Ed25519")
    made = rotation_statements(owner.key, new, owner.id, owner.key.thumbprint())
    asked = NewPartyKey.model_validate({"public_key": new.as_dict(private=False), **made})
    with story.database.transaction() as session:
        party_keys.rotate(session, Custody(story.settings), owner.principal, owner.id, asked)
    return replace(owner, key=new)


def whole_story(story: Story) -> Granted:
    """Ada signs and then changes her key, the label signs for itself and, mandated, for Omar."""
    owners = ada, label, omar = (
        story.owner("Ada"),
        story.owner("Small Label", "label"),
        story.owner("Omar"),
    )
    track = story.track(*owners)
    template = story.template(ada, track, quota_total=5, territories=["DE", "AT"])
    grant_id, payload = story.grant(ada, template)
    mandate = given_mandate(story, omar, label)
    story.sign(ada, grant_id, payload)
    story.sign(label, grant_id, payload)
    signed = sign_payload(payload, label.key, mandate=mandate_reference(*mandate))
    with story.database.transaction() as session:
        grant = add_signature(session, label.principal, grant_id, **signed, on_behalf_of=omar.id)
        assert grant.state == "open"
    with story.database.transaction() as session:
        # What hearing itself leaves is tested with the previews.
        session.get_one(GrantSignature, (grant_id, ada.id)).heard = ["ab" * 32, "cd" * 32]
    rotated(story, ada)
    return Granted(owners, track, template, 1, grant_id)


@pytest.fixture(scope="module")
def exported(
    _sqlite_template: Path, _cards_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Exported]:
    home = tmp_path_factory.mktemp("export")
    shutil.copy(_sqlite_template, home / "reprise.db")
    settings = Settings(home=home)
    database = Database(settings.database)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REPRISE_CARDS", str(_cards_folder))
        story = Story(database, settings, ServiceKeys.load(settings))
        granted = whole_story(story)
        document = export(story, OPERATOR, granted.grant_id)
        yield Exported(document, granted, jwks(*granted.owners), SealKeys(settings).published())
    database.dispose()


@pytest.fixture
def said() -> Callable[[Report], dict[str, str]]:
    """What a report says of each check that fails."""
    return lambda report: {c.name: c.detail for c in report.checks if c.outcome == "fails"}


LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)

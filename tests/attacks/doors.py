"""Every operation that takes an identifier, with a request that its rightful caller may make.

`tests/attacks/test_strangers.py` tries them with everybody else, and fails for an operation of the
OpenAPI document that stands in none of the lists here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from joserfc.jwk import OKPKey

from service.auth import Principal
from service.catalog.possession import SUCCESSOR, make_statement, rotation_statements
from service.consent.signatures import MANDATE_TYPE, TRAINING_TYPE, TYPE, sign_payload
from service.database import now
from tests.attacks.world import LENA, OPERATOR, World
from tests.stories import TERMS

Body = Callable[[World], Any]
WAV = b"RIFF\x24\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\x44\xac\x00\x00" + bytes(600)
NEW_KEY = OKPKey.generate_key("Ed25519")
WHY = "Because I say so, twice"


@dataclass(frozen=True)
class Door:
    """A request. `who` may make it; operators too where `operators`; everybody else may not.

    `ids` says which of the world's things a path's identifiers are, where it is not obvious.
    `directory`: the party's name, which every owner may look up, may stand in the refusal.
    `refused` and `opens` are the statuses for strangers and for who may.
    """

    who: str
    json: Body | None = None
    content: bytes | None = None
    params: Body | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    ids: Mapping[str, str] = field(default_factory=dict)
    operators: bool = False
    directory: bool = False
    refused: tuple[int, ...] = (403, 404)
    opens: tuple[int, ...] = (200, 201, 202, 409)

    def principal(self, world: World) -> Principal:
        """Who may."""
        known = {
            "ada": world.ada.principal,
            "label": world.label.principal,
            "lena": LENA,
            "operator": OPERATOR,
        }
        return known[self.who]

    def request(self, world: World) -> dict[str, Any]:
        """What is sent besides method and path."""
        made: dict[str, Any] = {"headers": dict(self.headers)}
        for name, build in (("json", self.json), ("params", self.params)):
            if build is not None:
                made[name] = build(world)
        if self.content is not None:
            made["content"] = self.content
        return made


def _signature(what: str, kind: str) -> Body:
    return lambda world: sign_payload(world.signed[what], world.ada.key, kind)


def _rotation(world: World) -> dict[str, Any]:
    statements = rotation_statements(
        world.ada.key, NEW_KEY, world.ada.id, world.ada.key.thumbprint()
    )
    return {"public_key": NEW_KEY.as_dict(private=False), **statements}


def _recovery(world: World) -> dict[str, Any]:
    other = OKPKey.generate_key("Ed25519")
    lost = world.label.key.thumbprint()
    claims = {"party": world.label.id, "old_kid": lost, "new_kid": other.thumbprint()}
    proof = make_statement(other, SUCCESSOR, claims)
    return {"public_key": other.as_dict(private=False), "proof": proof, "reason": WHY}


def _wish(world: World) -> dict[str, Any]:
    return {
        "adapter": "ada-again",
        "base": "test-drums",
        "part": "drums",
        "style": "Ada's Own",
        "track_ids": [world.ids["track_id"]],
        "expires_at": (now() + timedelta(days=30)).isoformat(),
    }


def _grant(world: World) -> dict[str, Any]:
    ends = (now() + timedelta(days=30)).isoformat()
    return {"template_id": world.ids["template_id"], "version": 1, "expires_at": ends}


def _mandate(world: World) -> dict[str, Any]:
    ends = (now() + timedelta(days=30)).isoformat()
    return {"grantor": world.ada.id, "agent": world.label.id, "tracks": "*", "expires_at": ends}


def _template(world: World) -> dict[str, Any]:
    return {"track_id": world.ids["track_id"], "terms": TERMS}


def _shares(world: World) -> dict[str, Any]:
    return {"shares": [{"party_id": world.ines.id, "ppm": 1_000_000}]}


def _choices(_world: World) -> dict[str, Any]:
    return {"choices": {"style": "rock", "seed": 8}}


def _why(_world: World) -> dict[str, Any]:
    return {"reason": WHY}


def _of_track(world: World) -> dict[str, str]:
    return {"track_id": world.ids["track_id"]}


TRAINING = {"grant_id": "training_grant_id"}
UPLOAD = {"track_id": "upload_track"}
LABEL = {"party_id": "label_id", "kid": "label_kid"}
RESUMED = {"Last-Event-ID": "1"}
# In the order in which the rightful callers come: what ends something comes last.
DOORS: dict[str, Door] = {
    "GET /v1/tracks/{track_id}": Door("ada", operators=True),
    "GET /v1/tracks/{track_id}/audio": Door("ada", operators=True),
    "PUT /v1/tracks/{track_id}/audio": Door("ada", content=WAV, ids=UPLOAD),
    "PUT /v1/tracks/{track_id}/stems/{name}": Door("ada", content=WAV, ids=UPLOAD),
    "POST /v1/tracks/{track_id}/ingest": Door("ada", ids=UPLOAD),
    "GET /v1/tracks/{track_id}/ownership": Door("ada", operators=True),
    "GET /v1/templates/{template_id}/versions/{version}": Door("ada", operators=True),
    "POST /v1/templates/{template_id}/versions": Door("ada", json=lambda world: {"terms": TERMS}),
    "GET /v1/disputes/{dispute_id}": Door("ada", operators=True),
    "GET /v1/grants/{grant_id}": Door("ada", operators=True),
    "GET /v1/grants/{grant_id}/export": Door("ada", operators=True),
    "GET /v1/mandates/{mandate_id}": Door("label", operators=True),
    "GET /v1/training-grants/{grant_id}": Door("ada", ids=TRAINING, operators=True),
    "GET /v1/remixes/{remix_id}": Door("lena", operators=True),
    "GET /v1/remixes/{remix_id}/events": Door("lena", headers=RESUMED, operators=True),
    "GET /v1/remixes/{remix_id}/audio": Door("lena", operators=True),
    "GET /v1/remixes/{remix_id}/excerpts/{number}": Door("lena", ids={"remix_id": "under_way"}),
    "GET /v1/remixes/{remix_id}/credits": Door("lena", operators=True),
    "GET /v1/remixes/{remix_id}/credential": Door("lena", operators=True),
    # The world's remix is older than the public log, which says so to who may ask.
    "GET /v1/remixes/{remix_id}/proof": Door("lena", operators=True, opens=(404,)),
    "GET /v1/grants/{grant_id}/proofs": Door("ada", operators=True),
    "GET /v1/training-grants/{grant_id}/proofs": Door("ada", ids=TRAINING, operators=True),
    # The case's file is gone; whoever may ask is told what is missing, 404 too.
    "POST /v1/quarantine/{case_id}/check": Door("operator", opens=(404,)),
    "POST /v1/quarantine/{case_id}/discard": Door("operator"),
    "POST /v1/remixes/{remix_id}/plays": Door(
        "lena", json=lambda world: {"play_id": "play-of-somebody"}
    ),
    "GET /v1/previews/{preview_id}": Door("label"),
    "GET /v1/previews/{preview_id}/events": Door("label", headers=RESUMED),
    "GET /v1/previews/{preview_id}/audio": Door("label"),
    "GET /v1/templates/{template_id}/versions/{version}/previews": Door("label"),
    "POST /v1/templates/{template_id}/versions/{version}/previews": Door(
        "label", json=_choices, headers={"Idempotency-Key": "attack"}
    ),
    "POST /v1/grants/{grant_id}/signatures": Door("ada", json=_signature("grant", TYPE)),
    "POST /v1/training-grants/{grant_id}/signatures": Door(
        "ada", json=_signature("training", TRAINING_TYPE), ids=TRAINING
    ),
    "POST /v1/mandates/{mandate_id}/signature": Door(
        "ada",
        json=_signature("waiting_mandate", MANDATE_TYPE),
        ids={"mandate_id": "waiting_mandate"},
    ),
    "POST /v1/disputes/{dispute_id}/decision": Door(
        "ada", json=lambda world: {"decision": "release", "reason": WHY}, operators=True
    ),
    "POST /v1/grants/{grant_id}/renewal": Door("ada", operators=True),
    "POST /v1/remixes/{remix_id}/refund": Door("operator", json=_why),
    "PUT /v1/remixes/{remix_id}/takedown": Door("operator", json=_why),
    "DELETE /v1/remixes/{remix_id}": Door("lena", ids={"remix_id": "waiting"}, operators=True),
    "DELETE /v1/previews/{preview_id}": Door("label"),
    "POST /v1/tracks/{track_id}/ownership/{version}/agreement": Door("label"),
    "POST /v1/tracks/{track_id}/ownership": Door("ada", json=_shares, operators=True),
    "POST /v1/tracks/{track_id}/ownership/{version}/enforcement": Door("operator", json=_why),
    "DELETE /v1/tracks/{track_id}/ownership/{version}": Door("label", operators=True),
    "DELETE /v1/templates/{template_id}/versions/{version}": Door("label"),
    "DELETE /v1/grants/{grant_id}": Door("label", operators=True),
    "DELETE /v1/training-grants/{grant_id}": Door("label", ids=TRAINING, operators=True),
    "DELETE /v1/mandates/{mandate_id}": Door("label", operators=True),
    "POST /v1/parties/{party_id}/keys": Door("ada", json=_rotation, directory=True),
    "POST /v1/parties/{party_id}/keys/{kid}/loss": Door(
        "label", json=lambda world: {}, ids=LABEL, operators=True, directory=True
    ),
    "POST /v1/parties/{party_id}/keys/{kid}/recovery": Door("operator", json=_recovery, ids=LABEL),
}
# Operations that name another's thing in the query or the body.
NAMING: dict[str, Door] = {
    "GET /v1/templates": Door("ada", params=_of_track, operators=True),
    "GET /v1/grants": Door("ada", params=_of_track, operators=True),
    "GET /v1/training-grants": Door("ada", params=_of_track, operators=True),
    "POST /v1/templates": Door("ada", json=_template),
    "POST /v1/grants": Door("ada", json=_grant),
    "POST /v1/training-grants": Door("ada", json=_wish),
    "POST /v1/mandates": Door("label", json=_mandate, refused=(403, 422)),
    "GET /v1/statements": Door(
        "ada",
        params=lambda world: {"period": f"{now():%Y-%m}", "party": world.ada.id},
        operators=True,
    ),
}
# Lists of what is the caller's own. What they are asked for is another's.
LISTS: dict[str, Body] = {
    "GET /v1/tracks": lambda world: {},
    "GET /v1/grants": lambda world: {"waiting": True},
    "GET /v1/mandates": lambda world: {},
    "GET /v1/disputes": lambda world: {},
    "GET /v1/remixes": lambda world: {},
    "GET /v1/ownership-proposals": lambda world: {},
    "GET /v1/decisions": lambda world: {
        "track_id": world.ids["track_id"],
        "grant_id": world.ids["grant_id"],
        "job_id": world.ids["remix_id"],
    },
}
# For operators alone: nothing of it is anybody else's.
OPERATION = {"GET /v1/quarantine"}
# Who owns must be able to name parties and to judge their signatures: names and public keys.
DIRECTORY = {
    "GET /v1/parties",
    "GET /v1/parties/{party_id}",
    "GET /v1/parties/{party_id}/keys",
}
# What the owners offer to every listener, by an open grant.
OFFERED = {"GET /v1/catalog", "POST /v1/remixes"}
# What is the caller's own to make, and what it can be made of.
MAKING = {
    "POST /v1/parties",
    "GET /v1/parties/me",
    "POST /v1/tracks",
    "GET /v1/template-options",
}
# For anybody, without a token.
PUBLIC = {
    "GET /healthz",
    "GET /readyz",
    "GET /metrics",
    "POST /v1/verify",
    "GET /.well-known/reprise-seal-keys.json",
}
# What the service has published of itself, for everybody to hold it to: hashes, no names.
LOG = {
    "GET /v1/log",
    "GET /v1/log/checkpoint",
    "GET /v1/log/entries",
    "GET /v1/log/proofs/consistency",
    "GET /v1/log/proofs/inclusion",
    "GET /v1/log/tile/entries/{place}",
    "GET /v1/log/tile/{level}/{place}",
}
CLASSIFIED = {*OPERATION, *LOG, *DOORS, *NAMING, *LISTS, *DIRECTORY, *OFFERED, *MAKING, *PUBLIC}


def place(operation: str, door: Door, ids: Mapping[str, str]) -> tuple[str, str]:
    """The method and the path with its identifiers filled in."""
    method, path = operation.split(" ")
    discarding = operation.startswith("DELETE /v1/templates")
    versions = {
        "version": "2" if "ownership" in path or discarding else "1",
        "name": "drums",
        "number": "1",
    }
    own = {name: ids[key] for name, key in door.ids.items()}
    return method, path.format(**{**ids, **versions, **own})

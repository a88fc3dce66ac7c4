"""The artist and the label of the demo: each with a key of its own that never leaves this side."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from joserfc.jwk import OKPKey
from joserfc.util import urlsafe_b64decode

from service.auth.keys import load_or_make
from service.catalog.possession import registration_proof
from service.consent.signatures import sign_payload
from service.demo.client import Api, Refused


@dataclass(frozen=True, slots=True)
class Owner:
    """A party that owns a share: its API access, its registered id, its private key."""

    api: Api
    party_id: str
    name: str
    key: OKPKey

    def sign(self, grant_id: str, payload: str) -> dict[str, Any]:
        """Sign a grant's canonical payload (base64url) and send the signature; the grant."""
        signature = sign_payload(urlsafe_b64decode(payload.encode()), self.key)
        return self.api.post(f"/v1/grants/{grant_id}/signatures", signature)


def register(api: Api, *, subject: str, kind: str, name: str, keys: Path) -> Owner:
    """Register `subject`, who holds `api`'s token, as a party, or find that of an earlier run.

    The private key is made at first use (mode 0600); the service gets the public half only.
    """
    key = load_or_make(keys / f"party-{kind}.jwk")
    public = {name: value for name, value in key.as_dict(private=False).items() if name != "kid"}
    try:
        proof = registration_proof(key, subject)
        party = api.post(
            "/v1/parties", {"kind": kind, "name": name, "public_key": public, "proof": proof}
        )
    except Refused as refused:
        if refused.slug != "party-exists":
            raise
        kid = key.thumbprint()
        found = [p for p in api.get("/v1/parties", limit=100)["items"] if p["kid"] == kid]
        if not found:
            raise
        party = found[0]
    return Owner(api, party["id"], name, key)

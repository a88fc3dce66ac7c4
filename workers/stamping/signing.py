"""Signing: the one call that writes a credential into a file.

The signature is always made by a callback (see `identity`), so that a key may lie anywhere.
Production sets `REPRISE_SIGNING_CERT` (PEM chain, leaf first), one of `REPRISE_SIGNING_KEY`,
`REPRISE_SIGNING_COMMAND` and `REPRISE_SIGNING_PLUGIN`, and `REPRISE_TRUST_ANCHORS` to the roots
that verifiers trust; without them the development CA signs.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import c2pa

from service.permit import Permit
from service.provenance.trust import Trust
from workers.stamping.identity import SigningFailed, SigningIdentity
from workers.stamping.soft_binding import LayoutChanged, SoftBinding, Splice


@dataclass(frozen=True, slots=True)
class Parent:
    """The file that an output was made from: its path, media type and title."""

    path: Path
    media_type: str
    title: str


def sign(
    permit: Permit,
    source: Path,
    destination: Path,
    definition: Mapping[str, Any],
    *,
    identity: SigningIdentity,
    trust: Trust,
    parent: Parent | None = None,
    soft_bindings: Sequence[SoftBinding] = (),
) -> None:
    """Write `source` with a signed credential to `destination`.

    :param definition: the manifest definition; its `format` is the media type of both files.
    :param parent: the original, named `original` in the definition's actions.
    :param soft_bindings: what the definition's soft-binding assertions stand in for, in order.
    :raises SigningFailed: nothing was signed, and `destination` is not there.
    """
    permit.require("stamp", "ingest", "separate")
    splice = Splice(soft_bindings)
    failures: list[Exception] = []

    def callback(to_be_signed: bytes) -> bytes:
        # The SDK logs what is raised here and says no more: the cause is kept for whoever asks.
        try:
            return identity.signature(splice.claim(to_be_signed))
        except (SigningFailed, LayoutChanged) as error:
            failures.append(error)
            raise

    try:
        with (
            c2pa.Context.from_dict(_signing_settings(trust, identity, soft_bindings)) as context,
            c2pa.Builder(json.dumps(definition), context) as builder,
            c2pa.Signer.from_callback(
                callback, identity.algorithm, identity.chain, identity.tsa_url
            ) as signer,
        ):
            if parent is not None:
                ingredient = {
                    "title": parent.title,
                    "relationship": "parentOf",
                    "label": "original",
                    "instance_id": "original",
                }
                with parent.path.open("rb") as stream:
                    builder.add_ingredient(json.dumps(ingredient), parent.media_type, stream)
            with source.open("rb") as unsigned, destination.open("w+b") as signed:
                store = builder.sign(signer, definition["format"], unsigned, signed)
        splice.file(destination, store)
    except (c2pa.C2paError, LayoutChanged, ValueError) as error:
        # The SDK leaves what it had written, often an empty file.
        destination.unlink(missing_ok=True)
        cause = failures[0] if failures else error
        raise SigningFailed(str(cause)) from cause


def _signing_settings(
    trust: Trust, identity: SigningIdentity, soft_bindings: Sequence[SoftBinding]
) -> dict[str, Any]:
    settings = trust.sdk_settings()
    if identity.tsa_url is not None:
        settings["core"]["allowed_network_hosts"] = [urlsplit(identity.tsa_url).hostname or ""]
    # The signature is already that of the spliced file, which the policy check reads.
    settings["verify"]["verify_after_sign"] = not soft_bindings
    return settings

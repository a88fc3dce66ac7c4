"""Card: what we know of a checkpoint, read from one TOML file.

After "Model Cards for Model Reporting" (Mitchell et al., 2019): what it is, under which licence it
may be used, what it was trained on, what it is for, and what it cannot do.
"""

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

from checkpoints.errors import CardInvalid, CheckpointUnsealed
from checkpoints.measured import Measured, read_measured

Role = Literal["separator", "codec", "generator", "adapter"]
# What a generator can be told besides its style.
Control = Literal["density", "fills", "swing"]

CARD_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class FileSpec:
    """One file of a checkpoint: its SHA-256 (hex), size in bytes and where it is published."""

    sha256: str | None
    bytes: int | None
    url: str | None = None


@dataclass(frozen=True, slots=True)
class TrainingConsent:
    """A training grant that weights were made under: its id, and the SHA-256 of what was signed."""

    id: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What we know of a checkpoint.

    `licence` is an SPDX identifier (or `LicenseRef-…`) of the WEIGHTS; `commercial_use` says
    whether it allows commercial use. `sources` are the stems a separator gives, `parts` what a
    generator or codec makes, `styles` the styles a generator was trained on, `controls` what it
    can be told besides its style, `requires` the cards it cannot work without. A `bundled` card's
    files lie beside it, in a folder of its name.

    An `adapter` changes the generator `base` (of exactly `base_digest`) towards one catalogue;
    `grants` are the training grants of that catalogue's owners. `withdrawn` says why weights that
    were here must not be used any more. `training` says how the weights were made: seed, steps,
    hardware, hours; `measured` what they can do.
    """

    name: str
    role: Role
    title: str
    files: Mapping[str, FileSpec]
    licence: str
    commercial_use: bool
    training_data: str
    intended_use: str
    limits: str
    bundled: bool
    path: Path
    aliases: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    styles: tuple[str, ...] = ()
    controls: tuple[Control, ...] = ()
    requires: tuple[str, ...] = ()
    homepage: str | None = None
    base: str | None = None
    base_digest: str | None = None
    grants: tuple[TrainingConsent, ...] = ()
    withdrawn: str | None = None
    training: str | None = None
    measured: tuple[Measured, ...] = ()

    @property
    def sealed(self) -> bool:
        """Whether every file's hash is pinned."""
        return bool(self.files) and all(spec.sha256 for spec in self.files.values())

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over the canonical JSON of the file hashes: these weights, nothing else.

        :raises CheckpointUnsealed: a hash is missing.
        """
        if not self.sealed:
            raise CheckpointUnsealed(
                f"{self.name}: its card pins no SHA-256 for every file, so the weights cannot be "
                "verified. " + self._how_to_seal()
            )
        hashes = {name: spec.sha256 for name, spec in self.files.items()}
        canonical = json.dumps(hashes, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    @property
    def bytes(self) -> int | None:
        """The size of all files, None where the card does not say."""
        sizes = [spec.bytes for spec in self.files.values()]
        return None if not sizes or None in sizes else sum(size or 0 for size in sizes)

    def _how_to_seal(self) -> str:
        if self.bundled:
            return f"Train and export it, then run `python -m checkpoints.seal {self.name}`."
        return (
            f"Copy {self.path.name} to the folder that REPRISE_CARDS names, write into the copy "
            "the hashes of files that you have checked yourself, then pull again."
        )


def read_card(path: Path) -> Card:
    """Read one card.

    :raises CardInvalid: the file is not TOML, a field is missing, unknown or of the wrong type.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        return _card(document, path)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        raise CardInvalid(f"{path.name} is not a card: {error}. Correct or remove it.") from error


def _card(document: dict[str, Any], path: Path) -> Card:
    name = _text(document, "name")
    if not CARD_NAME.fullmatch(name) or path.stem != name:
        raise ValueError(f"name {name!r} must be the file's own name, in lower case")
    role = _text(document, "role")
    if role not in get_args(Role):
        raise ValueError(f"role {role!r} is none of {', '.join(get_args(Role))}")
    files = document.pop("files")
    card = Card(
        name=name,
        role=role,  # type: ignore[arg-type]
        title=_text(document, "title"),
        files=MappingProxyType({key: _file(key, spec) for key, spec in sorted(files.items())}),
        licence=_text(document, "licence"),
        commercial_use=_flag(document, "commercial_use"),
        training_data=_text(document, "training_data"),
        intended_use=_text(document, "intended_use"),
        limits=_text(document, "limits"),
        bundled=_flag(document, "bundled"),
        path=path,
        controls=_controls(document, role),
        homepage=_optional_text(document, "homepage"),
        base=_optional_text(document, "base"),
        base_digest=_optional_text(document, "base_digest"),
        grants=_consents(document),
        withdrawn=_optional_text(document, "withdrawn"),
        training=_optional_text(document, "training"),
        measured=read_measured(document.pop("measured", [])),
        **{
            key: _texts(document, key)
            for key in ("aliases", "sources", "parts", "styles", "requires")
        },
    )
    if document:
        raise ValueError(f"unknown fields: {', '.join(sorted(document))}")
    if not card.files:
        raise ValueError("a card names at least one file")
    _check_adapter(card)
    return card


def _check_adapter(card: Card) -> None:
    """An adapter names its base and its grants, and nothing else does."""
    if card.role != "adapter":
        if card.base or card.base_digest or card.grants:
            raise ValueError(f"base, base_digest and grants are an adapter's, not a {card.role}'s")
        return
    if not card.grants:
        raise ValueError("an adapter names the training grants that it was made under")
    if card.base is None or card.base not in card.requires:
        raise ValueError("an adapter names its base, and requires it")
    if card.base_digest is None or not _SHA256.fullmatch(card.base_digest):
        raise ValueError("base_digest is not 64 hexadecimal digits")
    if len(card.parts) != 1 or len(card.styles) != 1:
        raise ValueError("an adapter makes one part in one style of its own")


def _consents(document: dict[str, Any]) -> tuple[TrainingConsent, ...]:
    grants = document.pop("grants", [])
    if not isinstance(grants, list):
        raise TypeError("grants must be a list of tables")
    found = []
    for grant in grants:
        if not isinstance(grant, dict) or set(grant) != {"id", "sha256"}:
            raise TypeError("a grant has exactly id and sha256")
        consent = TrainingConsent(id=_text(grant, "id"), sha256=_text(grant, "sha256"))
        if not _SHA256.fullmatch(consent.sha256):
            raise ValueError(f"sha256 of {consent.id} is not 64 hexadecimal digits")
        found.append(consent)
    if len({consent.id for consent in found}) != len(found):
        raise ValueError("grants names something twice")
    return tuple(found)


def _file(name: str, spec: dict[str, Any]) -> FileSpec:
    if not _FILE_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not a plain file name")
    sha256 = spec.pop("sha256", None)
    size = spec.pop("bytes", None)
    url = spec.pop("url", None)
    if spec:
        raise ValueError(f"unknown fields of {name}: {', '.join(sorted(spec))}")
    if sha256 is not None and not _SHA256.fullmatch(sha256):
        raise ValueError(f"sha256 of {name} is not 64 hexadecimal digits")
    if size is not None and (not isinstance(size, int) or size < 0):
        raise ValueError(f"bytes of {name} is not a size")
    if url is not None and not url.startswith(("https://", "file://")):
        raise ValueError(f"url of {name} must be https or file")
    return FileSpec(sha256, size, url)


def _text(document: dict[str, Any], key: str) -> str:
    value = document.pop(key)
    if not isinstance(value, str) or not value.strip():
        raise TypeError(f"{key} must be a text")
    return " ".join(value.split())


def _optional_text(document: dict[str, Any], key: str) -> str | None:
    return _text(document, key) if key in document else None


def _flag(document: dict[str, Any], key: str) -> bool:
    value = document.pop(key)
    if not isinstance(value, bool):
        raise TypeError(f"{key} must be true or false")
    return value


def _controls(document: dict[str, Any], role: str) -> tuple[Control, ...]:
    controls = _texts(document, "controls")
    unknown = sorted(set(controls) - set(get_args(Control)))
    if unknown:
        raise ValueError(f"controls {', '.join(unknown)}: known are {', '.join(get_args(Control))}")
    if len(set(controls)) != len(controls):
        raise ValueError("controls names something twice")
    if controls and role not in ("generator", "adapter"):
        raise ValueError(f"a {role} has no controls")
    return controls  # type: ignore[return-value]


def _texts(document: dict[str, Any], key: str) -> tuple[str, ...]:
    values = document.pop(key, [])
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise TypeError(f"{key} must be a list of texts")
    return tuple(values)

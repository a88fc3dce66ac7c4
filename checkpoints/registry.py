"""Registry: which checkpoints exist, and the one way to open their files.

Weights are safetensors; anything that could hold a pickle is refused, because loading one runs
its code. A file is used only if its SHA-256 is the one on the card.
"""

import builtins
import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

from checkpoints.card import Card, FileSpec, Role, read_card
from checkpoints.errors import (
    CardInvalid,
    CheckpointBaseMismatch,
    CheckpointHashMismatch,
    CheckpointLicence,
    CheckpointNotPulled,
    CheckpointPickleRefused,
    CheckpointWithdrawn,
    UnknownCheckpoint,
)

__all__ = [
    "Card",
    "FileSpec",
    "OpenCheckpoint",
    "Role",
    "card",
    "cards",
    "open",
    "separator_for",
    "state",
]

ROOT = Path(__file__).resolve().parent
LOADED_SUFFIXES = (".safetensors", ".json", ".yaml", ".txt")
_PREFERRED_SEPARATOR = "htdemucs"
_BUNDLED_SEPARATOR = "reprise-separator"


@dataclass(frozen=True, slots=True)
class OpenCheckpoint:
    """A verified checkpoint: its card and the paths of its files by name."""

    card: Card
    files: Mapping[str, Path]


def cards() -> tuple[Card, ...]:
    """Every card, by name: ours, and those in the folder that `REPRISE_CARDS` names.

    An operator's card takes the place of ours of the same name (jobs still name the weights by
    their digest).

    :raises CardInvalid: a card cannot be read.
    """
    folders = [ROOT / "cards"]
    extra = os.environ.get("REPRISE_CARDS")
    if extra:
        folders.append(Path(extra))
    found: dict[str, Card] = {}
    for folder in folders:
        for path in sorted(folder.glob("*.toml")):
            read = _cached_card(path, path.stat().st_mtime_ns)
            found[read.name] = read
    return tuple(found[name] for name in sorted(found))


@lru_cache(maxsize=256)
def _cached_card(path: Path, _changed: int) -> Card:
    return read_card(path)


def card(name: str) -> Card:
    """The card called `name` (or known under that alias); raises `UnknownCheckpoint`."""
    known = cards()
    for candidate in known:
        if name == candidate.name or name in candidate.aliases:
            return candidate
    names = ", ".join(candidate.name for candidate in known)
    raise UnknownCheckpoint(f"no card is called {name!r}; there are: {names}")


def folder(card: Card) -> Path:
    """Where the card's files lie or would lie: beside a bundled card, else in the cache."""
    if card.bundled:
        root = ROOT if card.path.parent == ROOT / "cards" else card.path.parent
        return root / card.name
    return cache() / card.name


def cache() -> Path:
    """Where pulled checkpoints are kept: `$REPRISE_HOME/checkpoints`, else the user's cache."""
    home = os.environ.get("REPRISE_HOME")
    if home:
        return Path(home) / "checkpoints"
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "reprise" / "checkpoints"


def state(card: Card) -> str:
    """`bundled`, `pulled`, `absent` or `withdrawn`; nothing is verified here."""
    if card.withdrawn:
        return "withdrawn"
    present = all((folder(card) / name).is_file() for name in card.files)
    if not present:
        return "absent"
    return "bundled" if card.bundled else "pulled"


def open(name: str, *, commercial: bool) -> OpenCheckpoint:  # noqa: A001
    """Verify a checkpoint for one use and give its files.

    :param commercial: whether the grant at hand is commercial.
    :raises UnknownCheckpoint: no card has this name.
    :raises CheckpointWithdrawn: the consent that the weights were made under has ended.
    :raises CheckpointBaseMismatch: an adapter is for other weights than those here.
    :raises CheckpointLicence: the use is commercial and the licence forbids it.
    :raises CheckpointPickleRefused: a file is a pickle or could hold one.
    :raises CheckpointUnsealed: the card pins no hash.
    :raises CheckpointNotPulled: a file is not on this machine.
    :raises CheckpointHashMismatch: a file is not the one that the card names.
    """
    found = card(name)
    require_usable(found)
    require_licence(found, commercial=commercial)
    require_loadable(found)
    _ = found.digest
    files: dict[str, Path] = {}
    for file_name, spec in found.files.items():
        path = folder(found) / file_name
        if not path.is_file():
            raise CheckpointNotPulled(
                f"{found.name} is not on this machine ({file_name} is absent). "
                + _how_to_get(found)
            )
        verify(found, file_name, spec, path)
        files[file_name] = path
    return OpenCheckpoint(found, MappingProxyType(files))


def _how_to_get(card: Card) -> str:
    if card.role == "adapter":
        return "Copy its folder to where its card lies, or train it again."
    if card.bundled:
        return "It should have come with the installation: install again."
    return f"Run `reprise models pull {card.name}`."


def separator_for(setting: str, *, commercial: bool) -> Card:
    """The separator that a setting means for one use.

    `auto` is htdemucs where an operator has pulled it and its licence allows the use, else the
    bundled one.

    :raises UnknownCheckpoint: the setting names no card.
    :raises CardInvalid: the setting names a card that is no separator.
    """
    if setting != "auto":
        named = card(setting)
        if named.role != "separator":
            raise CardInvalid(f"{named.name} is a {named.role}, not a separator")
        return named
    preferred = card(_PREFERRED_SEPARATOR)
    allowed = preferred.commercial_use or not commercial
    if allowed and state(preferred) == "pulled":
        return preferred
    return card(_BUNDLED_SEPARATOR)


def require_licence(card: Card, *, commercial: bool) -> None:
    """Raise `CheckpointLicence` if the use is commercial and the weights' licence forbids it."""
    if commercial and not card.commercial_use:
        raise CheckpointLicence(
            f"the weights of {card.name} are under {card.licence}, which forbids commercial use, "
            "and this use is commercial. Choose a bundled checkpoint (Apache-2.0), or make the "
            "template non-commercial."
        )


def require_usable(named: Card) -> None:
    """Raise unless the card may still be used, and an adapter's base is the one it was made for.

    :raises CheckpointWithdrawn: see there.
    :raises CheckpointBaseMismatch: see there.
    :raises UnknownCheckpoint: no card is called as the base is.
    """
    if named.withdrawn:
        raise CheckpointWithdrawn(f"{named.name}: {named.withdrawn}")
    if named.base is None:
        return
    found = card(named.base)
    if found.digest != named.base_digest:
        raise CheckpointBaseMismatch(
            f"{named.name} was trained for {named.base} of digest {named.base_digest}, and here "
            f"is {found.digest}. Train it again on the present weights."
        )


def require_loadable(card: Card) -> None:
    """Raise `CheckpointPickleRefused` if a file of the card is of a kind that is not loaded."""
    for name in card.files:
        if not name.endswith(LOADED_SUFFIXES):
            raise CheckpointPickleRefused(
                f"{card.name}: {name} may be a pickle, and loading a pickle runs its code. "
                "Convert it to safetensors on a machine you can lose, and put a card for the "
                "result into the folder that REPRISE_CARDS names."
            )


def verify(
    card: Card,
    name: str,
    spec: FileSpec,
    path: Path,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Check a file's content against its card.

    :param progress: told the number of bytes read so far.
    :raises CheckpointPickleRefused: it is a pickle, whatever it is called.
    :raises CheckpointHashMismatch: the hash or the size differs.
    """
    digest = hashlib.sha256()
    done = 0
    with builtins.open(path, "rb") as source:  # noqa: PTH123
        head = source.read(16)
        if _is_pickle(head) or (name.endswith(".safetensors") and not _is_safetensors(head)):
            raise CheckpointPickleRefused(
                f"{card.name}: {name} is called otherwise but is a pickle (or no safetensors "
                "file), and is not loaded. Delete it and fetch it again from its publisher."
            )
        source.seek(0)
        while chunk := source.read(1 << 20):
            digest.update(chunk)
            done += len(chunk)
            if progress is not None:
                progress(done)
    if digest.hexdigest() != spec.sha256:
        again = (
            "Install again, or `python -m checkpoints.seal` if you trained it."
            if card.bundled
            else f"Delete it and run `reprise models pull {card.name}`."
        )
        raise CheckpointHashMismatch(
            f"{card.name}: {name} has SHA-256 {digest.hexdigest()}, the card says {spec.sha256}. "
            f"It was changed or damaged and is not loaded. {again}"
        )


def _is_pickle(head: bytes) -> bool:
    # PyTorch's zip container, its older tar and bare pickles of protocol 2 to 5.
    return head.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"))


def _is_safetensors(head: bytes) -> bool:
    # Eight bytes of header length (little endian), then the header's JSON object.
    return len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 27

"""Refusals of the registry: each says why, and what to do about it.

The registry is the ground floor and knows no HTTP; `slug`, `title` and `status` are what the
service needs to make an RFC 9457 problem of one.
"""

from typing import ClassVar


class CheckpointError(Exception):
    """A checkpoint that is not opened; `detail` says why and what to do."""

    slug: ClassVar[str] = "checkpoint-unusable"
    title: ClassVar[str] = "The checkpoint cannot be used"
    status: ClassVar[int] = 422
    limit: ClassVar[str] = "checkpoints that can be used"
    changed_by: ClassVar[str] = "the operator"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class UnknownCheckpoint(CheckpointError):
    """No card has this name."""

    slug = "unknown-checkpoint"
    title = "No card has this name"
    limit = "models that have a card here"
    changed_by = "the operator, by adding a card; or you, by naming another"


class CardInvalid(CheckpointError):
    """A card cannot be read, or says something no card may say."""

    slug = "checkpoint-card-invalid"
    title = "The checkpoint's card is not valid"
    limit = "cards that can be read"
    changed_by = "the operator, by correcting or removing the card"
    status = 500


class CheckpointInvalid(CheckpointError):
    """The files are those that the card pins, and do not make what it says."""

    slug = "checkpoint-invalid"
    title = "The checkpoint does not hold what its card says"
    limit = "checkpoints that hold what their card says"
    changed_by = "the operator, by correcting the checkpoint and sealing its card again"
    status = 500


class CheckpointUnsealed(CheckpointError):
    """The card pins no hash, so nothing could be verified."""

    slug = "checkpoint-unsealed"
    title = "The checkpoint's card pins no hash"
    limit = "hashes that the card pins"
    changed_by = "the operator, by sealing the card"
    status = 409


class CheckpointNotPulled(CheckpointError):
    """The card's files are not on this machine."""

    slug = "checkpoint-not-pulled"
    title = "The checkpoint is not on this machine"
    limit = "checkpoints on this machine"
    changed_by = "the operator, by `reprise models pull`"
    status = 409


class CheckpointHashMismatch(CheckpointError):
    """A file is not the one that the card names."""

    slug = "checkpoint-hash-mismatch"
    title = "A checkpoint file is not the one its card names"
    limit = "the hashes that the card pins"
    changed_by = "the operator, by pulling the checkpoint again"
    status = 500


class CheckpointPickleRefused(CheckpointError):
    """A file is a pickle, or of a kind that could hold one; loading it would run its code."""

    slug = "checkpoint-pickle-refused"
    title = "Pickled weights are not loaded"
    limit = "safetensors"
    changed_by = "whoever published the weights, by converting them"


class CheckpointLicence(CheckpointError):
    """The licence of the weights forbids this use."""

    slug = "checkpoint-licence"
    title = "The checkpoint's licence forbids this use"
    limit = "the licence of the weights"
    changed_by = "the template's author, with other checkpoints or without commerce"
    status = 403


class CheckpointPullFailed(CheckpointError):
    """The publisher's server did not give the file."""

    slug = "checkpoint-pull-failed"
    title = "The checkpoint could not be fetched"
    limit = "what its publisher serves"
    changed_by = "the operator, by trying again or from a folder"
    status = 502


class CheckpointWithdrawn(CheckpointError):
    """The consent that the weights were made under has ended."""

    slug = "checkpoint-withdrawn"
    title = "The checkpoint was withdrawn"
    limit = "the consent that the weights were made under"
    changed_by = "its owners, by a new training grant"
    status = 403


class CheckpointBaseMismatch(CheckpointError):
    """An adapter was trained for other weights than those here."""

    slug = "checkpoint-base-mismatch"
    title = "The adapter is for another checkpoint"
    limit = "the weights that the adapter was trained for"
    changed_by = "the operator, by training it anew"
    status = 409

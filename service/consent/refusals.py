"""What the gate says when it stays shut."""

from typing import ClassVar

from service.catalog.models import Track
from service.errors import Conflict, Problem

UNSIGNED = "not every owner's signature for this track stands just now"


class ConsentRefused(Problem):
    """The owners' consent does not cover this.

    `told` is what whoever has no part in the consent is told instead of the exact words, where
    these say something of the parties: who they are, what they lost, whom they trust.
    """

    status = 403
    slug = "consent-missing"
    title = "There is no consent for this"
    limit = "consent"
    changed_by = "the track's owners, by signing a grant"
    told: ClassVar[str | None] = None

    def for_strangers(self) -> "ConsentRefused":
        """This refusal, without what it says of the parties."""
        return self if self.told is None else type(self)(self.told)


class ConsentMissing(ConsentRefused):
    """Nobody granted it, or a party with a share has not signed."""

    told = "the owners of what this remix needs have not all allowed it"


class GrantNotOpen(ConsentRefused):
    """Signatures are still being collected."""

    slug = "grant-not-open"
    title = "The grant still lacks signatures"
    limit = "signatures"
    changed_by = "the owners who have not signed yet"


class GrantExpired(ConsentRefused):
    """The grant's dates have passed."""

    slug = "grant-expired"
    title = "The grant has expired"
    limit = "end of the grant"
    changed_by = "the track's owners, by renewing the grant"


class GrantNotYetValid(ConsentRefused):
    """The grant's dates have not begun."""

    slug = "grant-not-yet-valid"
    title = "The grant is not valid yet"
    limit = "beginning of the grant"
    changed_by = "the track's owners, by a grant that begins earlier"


class TerritoryNotGranted(ConsentRefused):
    """The listener is where the owners did not grant it."""

    slug = "territory-not-granted"
    title = "Not granted in this territory"
    limit = "territories"
    changed_by = "the track's owners, by a new version of the template and its grant"


class QuotaExhausted(ConsentRefused):
    """The listener has used up the template's quota."""

    slug = "quota-exhausted"
    title = "The quota of this template is used up"
    limit = "quota_per_listener"
    changed_by = "the track's owners, by a new version of the template and its grant"


class ConsentRevoked(ConsentRefused):
    """An owner revoked the grant."""

    slug = "consent-revoked"
    title = "The consent was revoked"
    limit = "revocation"
    changed_by = "the track's owners, by a new grant"


class OwnershipChanged(ConsentRefused):
    """The owners are not those, or not with the shares, that the grant was signed under."""

    told = "the track has other owners than when this was allowed, and they have not allowed it"
    slug = "ownership-changed"
    title = "The track's ownership changed since this was signed"
    limit = "ownership"
    changed_by = "the track's owners, by renewing the grant"


class GrantStands(Conflict):
    """A grant that still stands needs no renewal."""

    slug = "grant-stands"
    title = "The grant has not ended"
    limit = "state of the grant"
    changed_by = "the track's owners, by revoking it first"


class PreviewGone(ConsentRevoked):
    """The preview was deleted, or the draft that it was of, or its party owns nothing any more."""

    status = 410
    slug = "preview-gone"
    title = "The preview is gone"
    limit = "drafts and previews that are kept"
    changed_by = "an owner, by asking for a new preview"


class PreviewsExhausted(ConsentRefused):
    """As many previews of the version are kept as the operator allows."""

    slug = "previews-exhausted"
    title = "So many previews of a version are kept"
    limit = "previews_per_version"
    changed_by = "an owner, by deleting a preview; the operator, in the settings"


class TakenDown(ConsentRefused):
    """The remix was published, and nobody gets it any more."""

    status = 410
    slug = "taken-down"
    title = "The remix was taken down"
    limit = "on_revocation"
    changed_by = "nobody: what was taken down stays so; a new remix needs an open grant"


class SignatureInvalid(ConsentRefused):
    """A signature over the grant does not verify, or is not of the form required."""

    told = UNSIGNED
    status = 422
    slug = "signature-invalid"
    title = "The signature does not verify"
    limit = "signature"
    changed_by = "the party that signs, by signing the payload as it was made"


class SignerNotRequired(ConsentRefused):
    """The key belongs to nobody whose signature this grant needs."""

    told = UNSIGNED
    slug = "signer-not-required"
    title = "This party's signature is not required"
    limit = "required signers"
    changed_by = "the owners, by a change of ownership"


class KeyLost(ConsentRefused):
    """A signature was made with a key that had been lost before."""

    told = UNSIGNED
    slug = "key-lost"
    title = "It was signed with a key that was lost"
    limit = "lost key"
    changed_by = "the party whose key it was, by signing again with its present key"


class KeyRetired(ConsentRefused):
    """A signature was made with a key that had been replaced before."""

    told = UNSIGNED
    slug = "key-retired"
    title = "It was signed with a key that another has replaced"
    limit = "retired key"
    changed_by = "the party whose key it was, by signing with its present key"


class KeyNotInCustody(Conflict):
    """The service does not keep this party's key, so it cannot sign for it."""

    slug = "key-not-in-custody"
    title = "The service does not keep this key"
    limit = "custody"
    changed_by = "the party, by signing with its own key"


class MandateNotOpen(ConsentRefused):
    """The one who gives the mandate has not signed it."""

    told = UNSIGNED
    slug = "mandate-not-open"
    title = "The mandate is not signed"
    limit = "mandate"
    changed_by = "the party that gives the mandate, by signing it"


class MandateRevoked(ConsentRefused):
    """One of the two ended the mandate."""

    told = UNSIGNED
    slug = "mandate-revoked"
    title = "The mandate was ended"
    limit = "mandate"
    changed_by = "the party that gave it, by a new mandate or its own signature"


class MandateInsufficient(ConsentRefused):
    """The mandate does not allow this signature: another's, or for something or a time else."""

    told = UNSIGNED
    slug = "mandate-insufficient"
    title = "The mandate does not cover this"
    limit = "mandate"
    changed_by = "the party that gave it, by a new mandate or its own signature"


class TemplateMismatch(ConsentRefused):
    """What was signed is not the template or the recording at hand."""

    told = UNSIGNED
    status = 409
    slug = "template-mismatch"
    title = "The grant is for something else"
    limit = "what was signed"
    changed_by = "the track's owners, by a new grant"


class TrackNotReady(Conflict):
    """The track has no audio yet, so nobody could say what is granted."""

    slug = "track-not-ready"
    title = "The track has no audio yet"
    limit = "the track's audio"
    changed_by = "the track's owners, by uploading it"


class TrackHeld(TrackNotReady):
    """The track sounds like another party's, and nobody has decided yet."""

    slug = "track-held"
    title = "The track is held for a decision"
    limit = "dispute about the recording"
    changed_by = "an owner of the earlier track, or an operator"


def require_unheld(track: Track) -> None:
    """Raise `TrackHeld` for a track that is held for a decision."""
    if track.state == "held":
        raise TrackHeld(
            f"“{track.title}” sounds like a track of another party's, and waits until somebody "
            "decides whose it is",
        )


class TrainingWithdrawn(ConsentRevoked):
    """The consent ended that an adapter was trained under, or that a training runs under."""

    told = "the consent to train what plays here has ended"
    limit = "consent to the training"
    changed_by = "the artists it was trained on, by a new training grant"


class AdapterUnknown(ConsentRefused):
    """No training grant is recorded for these weights."""

    slug = "adapter-unknown"
    title = "No consent is recorded for this adapter"
    limit = "consent to the training"
    changed_by = "the artists it was trained on, by a training grant"


class AdapterNotYours(ConsentRefused):
    """An artist's own adapter plays for that artist's tracks only."""

    slug = "adapter-not-yours"
    title = "The adapter is another artist's"
    limit = "whose adapter it is"
    changed_by = "nobody: an adapter plays for its own artist"


class JobTokenInvalid(ConsentRefused):
    """The job token is not ours, not for this, or was never admitted."""

    slug = "job-token-invalid"
    title = "The job token is not valid"
    limit = "job token"
    changed_by = "whoever asked, by asking again"


class JobTokenExpired(JobTokenInvalid):
    """The job token was not used in time."""

    slug = "job-token-expired"
    title = "The job token has expired"


class JobTokenReplayed(JobTokenInvalid):
    """The job token was used already."""

    status = 409
    slug = "job-token-replayed"
    title = "The job token was used already"


class JobDeadlinePassed(ConsentRefused):
    """The job took longer than its token allows."""

    slug = "job-deadline-passed"
    title = "The job's deadline has passed"
    limit = "job_deadline_seconds"
    changed_by = "the operator, in the settings"


class StageNotPermitted(ConsentRefused):
    """The job token does not allow this stage."""

    slug = "stage-not-permitted"
    title = "The job token does not allow this stage"
    limit = "stages of the job token"
    changed_by = "nobody: ask for what the job is for"


class ChoicesChanged(ConsentRefused):
    """The choices are not those that were admitted."""

    slug = "choices-changed"
    title = "The choices are not those that were admitted"
    limit = "choices that were admitted"
    changed_by = "whoever asked, by asking again"

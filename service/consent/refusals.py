"""What the gate says when it stays shut."""

from service.errors import Conflict, Problem


class ConsentRefused(Problem):
    """The owners' consent does not cover this."""

    status = 403
    slug = "consent-missing"
    title = "There is no consent for this"


class ConsentMissing(ConsentRefused):
    """Nobody granted it, or a party with a share has not signed."""


class GrantNotOpen(ConsentRefused):
    """Signatures are still being collected."""

    slug = "grant-not-open"
    title = "The grant still lacks signatures"


class GrantExpired(ConsentRefused):
    """The grant's dates have passed."""

    slug = "grant-expired"
    title = "The grant has expired"


class GrantNotYetValid(ConsentRefused):
    """The grant's dates have not begun."""

    slug = "grant-not-yet-valid"
    title = "The grant is not valid yet"


class TerritoryNotGranted(ConsentRefused):
    """The listener is where the owners did not grant it."""

    slug = "territory-not-granted"
    title = "Not granted in this territory"


class QuotaExhausted(ConsentRefused):
    """The listener has used up the template's quota."""

    slug = "quota-exhausted"
    title = "The quota of this template is used up"


class ConsentRevoked(ConsentRefused):
    """An owner revoked the grant."""

    slug = "consent-revoked"
    title = "The consent was revoked"


class SignatureInvalid(ConsentRefused):
    """A signature over the grant does not verify, or is not of the form required."""

    status = 422
    slug = "signature-invalid"
    title = "The signature does not verify"


class SignerNotRequired(ConsentRefused):
    """The key belongs to nobody whose signature this grant needs."""

    slug = "signer-not-required"
    title = "This party's signature is not required"


class TemplateMismatch(ConsentRefused):
    """What was signed is not the template or the recording at hand."""

    status = 409
    slug = "template-mismatch"
    title = "The grant is for something else"


class TrackNotReady(Conflict):
    """The track has no audio yet, so nobody could say what is granted."""

    slug = "track-not-ready"
    title = "The track has no audio yet"


class AdapterUnknown(ConsentRefused):
    """No training grant is recorded for these weights."""

    slug = "adapter-unknown"
    title = "No consent is recorded for this adapter"


class AdapterNotYours(ConsentRefused):
    """An artist's own adapter plays for that artist's tracks only."""

    slug = "adapter-not-yours"
    title = "The adapter is another artist's"


class JobTokenInvalid(ConsentRefused):
    """The job token is not ours, not for this, or was never admitted."""

    slug = "job-token-invalid"
    title = "The job token is not valid"


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


class StageNotPermitted(ConsentRefused):
    """The job token does not allow this stage."""

    slug = "stage-not-permitted"
    title = "The job token does not allow this stage"


class ChoicesChanged(ConsentRefused):
    """The choices are not those that were admitted."""

    slug = "choices-changed"
    title = "The choices are not those that were admitted"

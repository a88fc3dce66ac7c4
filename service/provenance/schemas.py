"""A verdict on the wire, and in the command's `--json`.

Everything under `made`, `original`, `credits` and `checkpoints` is what the file claims; `verdict`
says what the claim is worth. It is plain text: whoever shows it must not read it as markup.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.templates.redo import MOST_SPANS

# What a credential is worth, and what all that is known of a file comes to.
VerdictWord = Literal["trusted", "valid", "invalid", "absent"]
AnswerWord = Literal["verified", "altered", "recovered", "similar", "nothing-known"]
FoundWord = Literal["recovered", "marked", "similar"]
StandingWord = Literal["stands", "revoked", "ended", "preview", "unknown"]

# A file may claim anything, of any length: what does not fit is left out and said so.
Text = Annotated[str, Field(max_length=2000)]
Count = Annotated[int, Field(ge=0, le=2**53)]


class Claim(BaseModel):
    """Something a file claims; members we do not know are ignored."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False, strict=True)


class CreditLine(Claim):
    """Who contributed what, and whether `name` is a model."""

    name: Text
    role: Text
    ai: bool = False


class CheckpointLine(Claim):
    """A checkpoint that worked on the remix; `digest` is over the hashes of its weights."""

    name: Text
    role: Text
    digest: Text
    licence: Text
    commercial_use: bool


class SpanClaim(Claim):
    """Part of the song that was made anew, in seconds of the original."""

    start: Annotated[float, Field(ge=0)]
    end: Annotated[float, Field(ge=0)]


class MadeChoices(Claim):
    """What the listener chose of the new part; without `redo` all of it is new."""

    density: Text | None = None
    fills: bool | None = None
    swing: bool | None = None
    redo: Annotated[list[SpanClaim] | None, Field(max_length=MOST_SPANS)] = None


class Made(Claim):
    """How the remix was made: what was regenerated and what was kept."""

    part: Text
    style: Text
    kept: Annotated[list[Text], Field(max_length=16)]
    seed: Count
    tempo_percent: float = 0.0
    key_semitones: int = 0
    choices: MadeChoices = MadeChoices()
    statement: Text
    code_version: Text


class Original(Claim):
    """The recording it was made from; `sha256` names the catalogue's stored audio."""

    track: Text
    title: Text
    artist: Text
    sha256: Text
    isrc: Text | None = None
    iswc: Text | None = None


class Signer(Claim):
    """Who signed: names from the certificate (worth something only when trusted)."""

    issuer: Text | None = None
    common_name: Text | None = None
    cert_serial_number: Text | None = None
    time: Text | None = Field(None, description="Time stamp, if an authority gave one.")


class GrantClaim(Claim):
    """The grant that a consent assertion names."""

    id: Text
    generation: Count


class TemplateClaim(Claim):
    """The template version that a consent assertion names."""

    id: Text
    version: Count


class ConsentClaim(Claim):
    """What of a consent assertion is looked up."""

    job: Text
    grant: GrantClaim | None = None
    template: TemplateClaim


class Consent(BaseModel):
    """Under which grant it was made, and whether that grant stands today.

    `stands`, `revoked`, `ended` (by its own dates, or as the track changed owners), or `unknown`
    when this service did not issue the credential or cannot tell. A remix made before a revocation
    keeps its credential. A `preview` was made for the recording's owners to hear, under no grant,
    and grants nothing.
    """

    grant: str | None
    generation: int | None
    template: str
    job: str
    standing: StandingWord
    detail: str
    checked_at: datetime | None = None


class Song(BaseModel):
    """A recording of the catalogue that a file sounds like, or was made from."""

    track: str
    title: str
    artist: str
    isrc: str | None = None


class Recovered(BaseModel):
    """What a recovered credential said when it was issued; the file at hand may say otherwise."""

    manifest_id: str
    issued_at: datetime
    delivered: bool = Field(description="Whether the remix may still be had from this service.")
    preview: bool = False
    title: Text | None = None
    made: Made | None = None
    original: Original | None = None
    credits: list[CreditLine] = []
    checkpoints: list[CheckpointLine] = []
    consent: Consent | None = None


class Found(BaseModel):
    """What another method than the credential found out about a file. It verifies nothing.

    `recovered`: a watermark names a credential of ours; `marked`: a watermark of ours, but no
    credential is known by it; `similar`: it sounds like a recording we know.
    """

    word: FoundWord
    method: str = Field(description="The method and its version.")
    detail: str
    song: Song | None = None
    version_certain: bool = Field(
        False, description="Whether it is this very version, or one of several that sound alike."
    )
    credential: Recovered | None = None
    start_seconds: float | None = Field(
        None, description="Where in the file the watermark was read, or the recording begins."
    )
    true_positive_rate: Annotated[float | None, Field(ge=0, le=1)] = Field(
        None, description="How often the method finds what is there, measured (see the README)."
    )
    true_positive_low: Annotated[float | None, Field(ge=0, le=1)] = Field(
        None, description="The lower end of that rate's 95 % interval."
    )
    false_positive_rate: Annotated[float | None, Field(ge=0, le=1)] = Field(
        None, description="The most that it finds what is not there, fixed in advance."
    )


class Verdict(BaseModel):
    """What is known of a file, and what its credential is worth.

    `answer` is for people: `verified` (its credential is `trusted`, and nothing else makes it so),
    `altered`, `recovered` by a watermark, `similar` to something known, or `nothing-known`.

    `verdict` is on the credential. `trusted`: signed by an authority this service trusts, unchanged
    since, every ingredient clean, and for our own remixes everything stated that must be. `valid`:
    signed and unchanged, but one of these is missing. `invalid`: changed since it was signed,
    damaged, or made from something that was. `absent`: no credential (a conversion to another
    format removes it).
    """

    answer: AnswerWord
    verdict: VerdictWord
    summary: str
    reasons: list[str] = Field(default_factory=list, description="Why it is not `trusted`.")
    ours: bool = Field(False, description="Whether it claims to be a remix made here.")
    preview: bool = Field(
        False,
        description="Whether it claims to be a preview, made for the owners, that grants nothing.",
    )
    excerpt: bool = Field(
        False,
        description="Whether it claims to be an excerpt, heard while its remix was being made.",
    )
    title: Text | None = None
    manifest_id: Text | None = Field(None, description="The credential's identity.")
    signer: Signer | None = None
    made: Made | None = None
    original: Original | None = None
    credits: list[CreditLine] = []
    checkpoints: list[CheckpointLine] = []
    consent: Consent | None = None
    found: list[Found] = Field(
        default_factory=list, description="What other methods found where nothing was verified."
    )
    unsearched: list[str] = Field(
        default_factory=list, description="Methods that could not look at the file, and why."
    )


class CredentialAnswer(BaseModel):
    """The credential of a published remix as it was read back after signing."""

    job_id: str
    manifest_id: str
    file_sha256: str
    issued_at: datetime
    verdict: Verdict
    manifest: dict[str, Any] = Field(description="The C2PA reader's document, with ingredients.")

"""What a credential says of one remix: the job's record, gathered before anything is written."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

from checkpoints.card import Card
from service.provenance.labels import PREVIEW_MARK
from service.templates.redo import Span, in_words
from workers.stamping.soft_binding import SoftBinding

AudioFormat = Literal["flac", "wav", "mp3", "m4a"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Credit:
    """One contribution: who, as what (`vocals`, `producer`), and whether a model did it.

    `isni` (ISO 27729) and `ipi` say who exactly, where the catalogue knows.
    """

    name: str
    role: str
    ai: bool = False
    isni: str | None = None
    ipi: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackRecord:
    """The original: its catalogue entry and the SHA-256 (hex) of its stored audio.

    `isrc` is ISO 3901, `iswc` ISO 15707, both without separators.
    """

    track_id: str
    title: str
    artist: str
    sha256: str
    credits: tuple[Credit, ...] = ()
    isrc: str | None = None
    iswc: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointRecord:
    """One checkpoint that worked on the remix, as its card states it.

    `digest` is over the hashes of its weights, `training_data` the card's own statement.
    """

    name: str
    role: str
    digest: str
    licence: str
    commercial_use: bool
    training_data: str = ""

    @classmethod
    def of(cls, card: Card) -> "CheckpointRecord":
        """The record of a card."""
        return cls(
            name=card.name,
            role=card.role,
            digest=card.digest,
            licence=card.licence,
            commercial_use=card.commercial_use,
            training_data=card.training_data,
        )


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Which seconds of the remix a file holds, and its number among the job's excerpts."""

    number: int
    start: float
    end: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StampRecord:
    """Everything the credential of one remix says.

    The listener is not in here: a file goes from hand to hand, and who asked is nobody's business.

    :param part: the stem that was regenerated; `kept`: the others, as they are in the mix.
    :param separated: whether a separator took the stems from the mix (else the artist gave them).
    :param tempo_percent: change of tempo; `key_semitones`: change of key; 0: kept as recorded.
    :param redo: the spans of the part that are new, in seconds of the original; empty: all of it.
    :param choices: the listener's choices in canonical form; `choices_sha256`: their hash.
    :param parameters: what the generator was told besides (guidance, temperature, dtype, …).
    :param token_id: the job token's `jti`; the credential holds its hash.
    :param preview: made for the track's owners to hear; it has no grant, and only it has none.
    :param excerpt: what is heard while the remix is made, of the first candidate; None: the remix.
    :param soft_bindings: what finds the credential again when the file has lost it.
    """

    job_id: str
    track: TrackRecord
    part: str
    kept: tuple[str, ...]
    style: str
    seed: int
    grant_id: str | None
    grant_sha256: str | None
    grant_generation: int | None
    template_id: str
    template_version: int
    template_sha256: str
    token_id: str
    choices: Mapping[str, Any]
    choices_sha256: str
    checkpoints: tuple[CheckpointRecord, ...]
    code_version: str
    issued_at: datetime
    commercial: bool = False
    separated: bool = True
    tempo_percent: float = 0.0
    key_semitones: int = 0
    redo: tuple[Span, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    preview: bool = False
    excerpt: Excerpt | None = None
    soft_bindings: tuple[SoftBinding, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what would pass for granted without a grant, or the reverse."""
        grant = (self.grant_id, self.grant_sha256, self.grant_generation)
        if [part is None for part in grant] != [self.preview] * len(grant):
            raise ValueError("a remix is made under a grant, a preview under none")
        if self.preview and self.excerpt is not None:
            raise ValueError("excerpts are of remixes")

    @property
    def title(self) -> str:
        """The remix's title: the track's, and what was done to it."""
        ending = f" {PREVIEW_MARK}" if self.preview or self.excerpt else ""
        return f"{self.track.title} ({self.style} {self.part} remix){ending}"

    @property
    def generator(self) -> CheckpointRecord:
        """The checkpoint that made the new part: an adapter before the base that it changes."""
        able = {c.role: c for c in self.checkpoints}
        return able["adapter"] if "adapter" in able else able["generator"]

    @property
    def credits(self) -> tuple[Credit, ...]:
        """Who made this remix: the track's credits, then the model by its part.

        Whoever played the part on the original keeps the credit, marked as replaced; where only
        spans of it are new, both credits say which.
        """
        where = f" from {in_words(self.redo)}" if self.redo else ""
        original = self.track.credits or (Credit(name=self.track.artist, role="main artist"),)
        kept = (
            replace(c, role=f"{c.role} on the original recording, replaced{where or ' here'}")
            if c.role.casefold() == self.part
            else c
            for c in original
        )
        return (*kept, Credit(name=self.generator.name, role=self.part + where, ai=True))

    @property
    def statement(self) -> str:
        """One line for listeners: what was regenerated, what was kept, by whose consent."""
        kept = f"all other stems as recorded by {self.track.artist}"
        new = self.part.capitalize()
        if self.redo:
            new += f" from {in_words(self.redo)}"
            kept = f"the rest of the {self.part} and {kept}"
        changes = []
        if self.tempo_percent:
            changes.append(f"tempo {self.tempo_percent:+g} %")
        if self.key_semitones:
            changes.append(f"key {self.key_semitones:+d} semitones")
        if changes:
            kept += f", with {' and '.join(changes)}"
        times = " Times are those of the original." if self.redo and self.tempo_percent else ""
        said = "Preview for the recording's owners, granting nothing: " if self.preview else ""
        if self.excerpt:
            said = (
                f"Preview of {self.excerpt.start:.1f} to {self.excerpt.end:.1f} s, heard while the "
                "remix was being made: "
            )
        return f"{said}{new} regenerated by {self.generator.name} (AI); {kept}.{times}"

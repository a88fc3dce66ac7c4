"""A listener's choices, and whether a template allows them."""

import hashlib
import secrets
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import rfc8785
from pydantic import BaseModel, ConfigDict, Field

from service.catalog.models import Track
from service.errors import Problem
from service.templates.models import TemplateVersion
from service.templates.terms import Style

SEED_MAX = 2**32 - 1


class ChoiceOutsideTemplate(Problem):
    """A choice lies outside what the artist allows."""

    status = 422
    slug = "choice-outside-template"
    title = "The template does not allow this choice"


class Choices(BaseModel):
    """What a listener asks for. Without a seed one is drawn, and recorded like any other."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)

    style: Style
    tempo_percent: Annotated[float, Field(ge=-100, le=100)] = 0.0
    key_semitones: Annotated[int, Field(ge=-24, le=24, strict=True)] = 0
    guidance: Annotated[float | None, Field(ge=0, le=100)] = None
    seed: Annotated[int | None, Field(ge=0, le=SEED_MAX, strict=True)] = None
    format: Literal["flac", "wav", "mp3", "m4a"] = "flac"

    def settled(self) -> "Choices":
        """These choices with a seed (drawn if there was none)."""
        if self.seed is not None:
            return self
        return self.model_copy(update={"seed": secrets.randbelow(SEED_MAX + 1)})

    def sha256(self) -> str:
        """SHA-256 (hex) of the canonical JSON (RFC 8785): what a job token binds."""
        return hashlib.sha256(rfc8785.dumps(self.model_dump(mode="json"))).hexdigest()


def choices_sha256(choices: Mapping[str, Any]) -> str:
    """`Choices.sha256` of choices as stored."""
    return Choices.model_validate(dict(choices)).sha256()


def check_choices(version: TemplateVersion, choices: Choices, track: Track) -> None:
    """Raise `ChoiceOutsideTemplate`, naming the bound, unless the version allows the choices."""
    terms = version.parsed
    if choices.style not in terms.styles and not terms.free_text:
        _refuse("style", choices.style, terms.styles, "is not one of the styles allowed")
    _within("tempo_percent", choices.tempo_percent, terms.tempo_percent)
    _within("key_semitones", choices.key_semitones, terms.key_semitones)
    if choices.guidance is not None:
        _within("guidance", choices.guidance, terms.guidance)
    if track.duration_seconds is not None:
        # A tempo change of p per cent makes the song 1 / (1 + p / 100) as long.
        length = track.duration_seconds / (1 + choices.tempo_percent / 100)
        _within("length_seconds", round(length, 3), terms.length_seconds)


def _within(name: str, value: float, bounds: Any) -> None:
    if not bounds.min <= value <= bounds.max:
        _refuse(
            name,
            value,
            {"min": bounds.min, "max": bounds.max},
            f"is not between {bounds.min:g} and {bounds.max:g}",
        )


def _refuse(name: str, value: Any, allowed: Any, why: str) -> None:
    raise ChoiceOutsideTemplate(
        f"{name} {value!r} {why}", choice=name, value=value, allowed=allowed
    )

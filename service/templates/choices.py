"""A listener's choices, and whether a template allows them."""

import hashlib
import math
import secrets
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import rfc8785
from pydantic import BaseModel, ConfigDict, Field

from service.catalog.models import Track
from service.errors import Problem
from service.templates.models import TemplateVersion
from service.templates.redo import Redo, total_seconds
from service.templates.terms import Density, RedoBounds, Style, TemplateTerms, is_absent

SEED_MAX = 2**32 - 1


class ChoiceOutsideTemplate(Problem):
    """A choice lies outside what the artist allows."""

    status = 422
    slug = "choice-outside-template"
    title = "The template does not allow this choice"
    limit = "the template's bounds"
    changed_by = "the track's owners, by a new version of the template and its grant"


class Choices(BaseModel):
    """What a listener asks for. Without a seed one is drawn, and recorded like any other.

    `density`, `fills` and `swing` bind the new part; left out, it does as the song suggests.
    `redo` names the spans to be made anew (in seconds of the original, before any change of
    tempo); outside them the part stays as recorded. Without it the whole part is new.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)

    style: Style
    tempo_percent: Annotated[float, Field(ge=-100, le=100)] = 0.0
    key_semitones: Annotated[int, Field(ge=-24, le=24, strict=True)] = 0
    guidance: Annotated[float | None, Field(ge=0, le=100)] = None
    seed: Annotated[int | None, Field(ge=0, le=SEED_MAX, strict=True)] = None
    format: Literal["flac", "wav", "mp3", "m4a"] = "flac"
    density: Annotated[
        Density | None, Field(exclude_if=is_absent, description="How many notes or hits.")
    ] = None
    fills: Annotated[
        bool | None,
        Field(strict=True, exclude_if=is_absent, description="With fills, or without."),
    ] = None
    swing: Annotated[
        bool | None,
        Field(strict=True, exclude_if=is_absent, description="Swung, or straight."),
    ] = None
    redo: Annotated[
        Redo | None,
        Field(
            exclude_if=is_absent,
            description=(
                "Only these spans are made anew: at least 0.5 s each, without overlap, sorted by "
                "the service; spans that touch become one."
            ),
        ),
    ] = None

    @property
    def controls(self) -> tuple[str, ...]:
        """The generator's controls that these choices set."""
        asked = (("density", self.density), ("fills", self.fills), ("swing", self.swing))
        return tuple(name for name, value in asked if value is not None)

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
    _check_controls(choices, terms)
    _check_redo(choices, terms.redo_seconds or RedoBounds(), track.duration_seconds)
    if track.duration_seconds is not None:
        # A tempo change of p per cent makes the song 1 / (1 + p / 100) as long.
        length = track.duration_seconds / (1 + choices.tempo_percent / 100)
        _within("length_seconds", round(length, 3), terms.length_seconds)


def _check_controls(choices: Choices, terms: TemplateTerms) -> None:
    for name in choices.controls:
        value = getattr(choices, name)
        if name not in terms.controls:
            _refuse(name, value, [], "is not a listener's to choose under this template")
        if name == "density" and value not in (terms.densities or []):
            _refuse(name, value, terms.densities, "is not one of the densities allowed")


def _check_redo(choices: Choices, bounds: RedoBounds, length: float | None) -> None:
    if choices.redo is None:
        if length is not None and length > bounds.max:
            _refuse(
                "redo",
                None,
                {"min": bounds.min, "max": bounds.max},
                f"must name spans: of the part at most {bounds.max:g} s may be made anew",
            )
        return
    end = choices.redo[-1].end
    # Spans are kept to the millisecond, and the song's last one may be asked for.
    if length is not None and end > math.ceil(length * 1000) / 1000:
        _refuse("redo", end, {"max": length}, f"is after the song's end at {length:g} s")
    _within("redo", total_seconds(choices.redo), bounds, " s in all")


def _within(name: str, value: float, bounds: Any, of: str = "") -> None:
    if not bounds.min <= value <= bounds.max:
        _refuse(
            name,
            value,
            {"min": bounds.min, "max": bounds.max},
            f"is not between {bounds.min:g} and {bounds.max:g}{of}",
        )


def _refuse(name: str, value: Any, allowed: Any, why: str) -> None:
    raise ChoiceOutsideTemplate(
        f"{name} {value!r} {why}", choice=name, value=value, allowed=allowed
    )

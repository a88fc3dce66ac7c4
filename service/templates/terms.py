"""The terms of a template: what an artist lets a listener change, and within which bounds."""

import unicodedata
from collections.abc import Collection
from datetime import datetime
from typing import Annotated, Literal, get_args

import iso3166
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from service.catalog.names import clean_name
from service.templates.price import Price
from service.templates.redo import LONGEST_SECONDS

EVERYWHERE = "*"
LONGEST_STYLE = 64


def _style(value: str) -> str:
    style = unicodedata.normalize("NFC", clean_name(value)).casefold()
    if len(style) > LONGEST_STYLE:
        raise ValueError(f"is longer than {LONGEST_STYLE} characters once its case is folded")
    return style


def _territory(value: str) -> str:
    if value != EVERYWHERE and value not in iso3166.countries_by_alpha2:
        raise ValueError(f"{value!r} is no ISO 3166-1 alpha-2 code (or '*' for everywhere)")
    return value


Style = Annotated[
    str, StringConstraints(min_length=1, max_length=LONGEST_STYLE), AfterValidator(_style)
]
Territory = Annotated[str, AfterValidator(_territory)]
CardName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
Density = Literal["sparse", "normal", "busy"]
OnRevocation = Literal["keep", "takedown"]
DENSITIES: tuple[Density, ...] = get_args(Density)


def is_absent(value: object) -> bool:
    """Whether a field is left out of the JSON.

    Terms and choices are hashed and signed. What came later than a document must not show in it
    when it is read and written again, so an optional later field is absent, never null.
    """
    return value is None


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)


class _Bounds(_Strict):
    @model_validator(mode="after")
    def _ordered(self) -> "_Bounds":
        if self.min > self.max:  # type: ignore[attr-defined]
            raise ValueError("min is above max")
        return self


class TempoBounds(_Bounds):
    """Change of tempo in per cent; 0 leaves the kept stems untouched."""

    min: Annotated[float, Field(ge=-25, le=25)] = 0.0
    max: Annotated[float, Field(ge=-25, le=25)] = 0.0


class KeyBounds(_Bounds):
    """Change of key in semitones; 0 leaves the kept stems untouched."""

    min: Annotated[int, Field(ge=-6, le=6, strict=True)] = 0
    max: Annotated[int, Field(ge=-6, le=6, strict=True)] = 0


class GuidanceBounds(_Bounds):
    """Guidance scale: how closely the part follows the style and the other stems."""

    min: Annotated[float, Field(ge=0, le=10)] = 0.0
    max: Annotated[float, Field(ge=0, le=10)] = 4.0


class LengthBounds(_Bounds):
    """Length of the remix in seconds."""

    min: Annotated[float, Field(ge=0, le=3600)] = 0.0
    max: Annotated[float, Field(gt=0, le=3600)] = 3600.0


class RedoBounds(_Bounds):
    """How much of the part is made anew, in seconds of the original, over all spans.

    A part made anew as a whole counts with the song's length: only `max` can rule it out.
    """

    min: Annotated[float, Field(ge=0, le=LONGEST_SECONDS)] = 0.0
    max: Annotated[float, Field(gt=0, le=LONGEST_SECONDS)] = LONGEST_SECONDS


class TemplateTerms(_Strict):
    """What may change and how far.

    `training` and `voice_cloning` have one value each: neither is ever implied by a remix
    template, and the signed form says so. `densities`, `fills`, `swing` and `redo_seconds` may be
    left out when a version is made: it then states what the named generator can do. A version
    from before they existed states none of them, and what was not signed is not offered.
    `on_revocation` left out is stated as `keep`, which is what it was before it could be said.
    """

    part: Literal["drums", "bass"]
    styles: Annotated[list[Style], Field(min_length=1, max_length=32)]
    free_text: Annotated[
        bool, Field(description="Whether a listener may write a style that is not listed.")
    ] = False
    tempo_percent: TempoBounds = TempoBounds()
    key_semitones: KeyBounds = KeyBounds()
    guidance: GuidanceBounds = GuidanceBounds()
    length_seconds: LengthBounds = LengthBounds()
    densities: Annotated[
        list[Density] | None,
        Field(
            max_length=len(DENSITIES),
            exclude_if=is_absent,
            description="How dense a part a listener may ask for; an empty list: no choice.",
        ),
    ] = None
    fills: Annotated[
        bool | None,
        Field(
            strict=True,
            exclude_if=is_absent,
            description="Whether a listener may choose a part with fills or without.",
        ),
    ] = None
    swing: Annotated[
        bool | None,
        Field(
            strict=True,
            exclude_if=is_absent,
            description="Whether a listener may choose a swung part or a straight one.",
        ),
    ] = None
    redo_seconds: Annotated[RedoBounds | None, Field(exclude_if=is_absent)] = None
    quota_per_listener: Annotated[int, Field(ge=1, le=1000, strict=True)] = 10
    quota_total: Annotated[
        int | None,
        Field(
            ge=1,
            le=100_000_000,
            strict=True,
            exclude_if=is_absent,
            description="How many remixes may be published in all; left out: any number.",
        ),
    ] = None
    on_revocation: Annotated[
        OnRevocation | None,
        Field(
            exclude_if=is_absent,
            description="What becomes of published remixes when an owner revokes the grant: they "
            "stay with their listeners (`keep`) or nobody gets them any more (`takedown`).",
        ),
    ] = None
    territories: Annotated[list[Territory], Field(min_length=1, max_length=250)] = [EVERYWHERE]
    not_before: AwareDatetime | None = None
    not_after: AwareDatetime | None = None
    commercial: bool = False
    price: Annotated[
        Price | None,
        Field(exclude_if=is_absent, description="What a remix owes; left out: nothing."),
    ] = None
    checkpoints: Annotated[list[CardName], Field(min_length=1, max_length=16)]
    training: Literal["notAllowed"] = "notAllowed"
    voice_cloning: Literal[False] = False

    @model_validator(mode="after")
    def _consistent(self) -> "TemplateTerms":
        for name in ("styles", "territories", "checkpoints", "densities"):
            values = getattr(self, name) or []
            if len(set(values)) != len(values):
                raise ValueError(f"{name} names something twice")
        if EVERYWHERE in self.territories and len(self.territories) > 1:
            raise ValueError("territories are either ['*'] or a list of countries")
        if self.not_before and self.not_after and self.not_before >= self.not_after:
            raise ValueError("not_before is not before not_after")
        return self

    @property
    def controls(self) -> tuple[str, ...]:
        """The generator's controls that a listener is offered."""
        offered = (("density", self.densities), ("fills", self.fills), ("swing", self.swing))
        return tuple(name for name, offer in offered if offer)

    def settled(self, controls: Collection[str]) -> "TemplateTerms":
        """These terms with nothing left out, for a generator that has these `controls`."""
        usual = {
            "densities": list(DENSITIES) if "density" in controls else [],
            "fills": "fills" in controls,
            "swing": "swing" in controls,
            "redo_seconds": RedoBounds(),
            "on_revocation": "keep",
        }
        return self.model_copy(
            update={name: value for name, value in usual.items() if getattr(self, name) is None}
        )

    def covers(self, territory: str | None) -> bool:
        """Whether a listener in `territory` (None: unknown) may remix."""
        return EVERYWHERE in self.territories or territory in self.territories

    def in_time(self, moment: datetime) -> bool:
        """Whether `moment` lies between the template's dates."""
        return (self.not_before is None or self.not_before <= moment) and (
            self.not_after is None or moment < self.not_after
        )

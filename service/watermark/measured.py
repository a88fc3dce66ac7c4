"""What was measured of the watermark: `measured.json`, which `reprise bench watermark` writes."""

from functools import lru_cache
from importlib.resources import files
from typing import Final

from pydantic import BaseModel, Field

from service.watermark.layout import METHOD

NAME: Final = "measured.json"


class Measured(BaseModel):
    """How often marks were found again, over pieces and attacks, and where there were none."""

    method: str
    pieces: int = Field(ge=1)
    attacks: list[str] = Field(min_length=1, description="Each was tried on every piece.")
    found: int = Field(ge=0, description="Of `pieces` times `attacks`.")
    found_low: float = Field(
        ge=0,
        le=1,
        description="The part of pieces that is found after every attack: the lower end of its "
        "95 % interval (Clopper and Pearson 1934), for the attacks share their pieces.",
    )
    false_positives: float = Field(gt=0, le=1, description="The bound that was set in advance.")
    unmarked: int = Field(ge=0, description="Clips without a mark, or with another key's.")
    unmarked_found: int = Field(ge=0)

    @property
    def true_positive_rate(self) -> float:
        """The part of marked and attacked pieces whose mark was found."""
        return self.found / (self.pieces * len(self.attacks))


@lru_cache(maxsize=1)
def measured() -> Measured | None:
    """What was measured of the method that is in use; None where that is another one."""
    text = files(__package__).joinpath(NAME).read_text(encoding="utf-8")
    told = Measured.model_validate_json(text)
    return told if told.method == METHOD else None

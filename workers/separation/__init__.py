"""Separation: the stems of a mixture, by demucs' own model classes."""

from workers.separation.separator import (
    Separator,
    SeparatorInvalid,
    load_separator,
    separate,
)

__all__ = ["Separator", "SeparatorInvalid", "load_separator", "separate"]

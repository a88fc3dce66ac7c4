"""Names people type: one spelling, and nothing in them that hides or escapes.

Text is normalised to NFC (Unicode UAX 15). Control characters, unpaired surrogates, line
separators, the bidirectional overrides and isolates (UAX 9), with which a credit can be made to
read as another, and what is not seen at all (the soft hyphen, the grapheme joiner, the Hangul
filler, tags) are refused.
"""

import unicodedata
from typing import Annotated

from pydantic import AfterValidator, StringConstraints

_FORBIDDEN_CATEGORIES = frozenset({"Cc", "Cs", "Co", "Cn", "Zl", "Zp"})
# The joiners U+200C and U+200D stay: several scripts and emoji need them.
_TURNING = (0x200E, 0x200F, 0x061C, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_UNSEEN = (0x00AD, 0x034F, 0x200B, 0x2060, 0x3164, 0xFEFF, *range(0xE0000, 0xE0080))
_FORBIDDEN_CHARACTERS = frozenset(map(chr, (*_TURNING, *_UNSEEN)))
_RESERVED_FILE_NAMES = frozenset({".", ".."})


def clean_name(value: str) -> str:
    """`value` in NFC without surrounding blanks; raises `ValueError` for what may not be in it."""
    name = unicodedata.normalize("NFC", value).strip()
    if not name:
        raise ValueError("is empty")
    for character in name:
        if (
            unicodedata.category(character) in _FORBIDDEN_CATEGORIES
            or character in _FORBIDDEN_CHARACTERS
        ):
            raise ValueError(f"must not contain the character U+{ord(character):04X}")
    return name


def clean_file_name(value: str) -> str:
    """A bare file name; raises `ValueError` for a path, an empty or an overlong one."""
    name = clean_name(value)
    if any(separator in name for separator in ("/", "\\", ":")) or name in _RESERVED_FILE_NAMES:
        raise ValueError("must be a file name, not a path")
    if len(name.encode()) > 255:
        raise ValueError("is longer than 255 bytes")
    return name


Name = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(clean_name)]

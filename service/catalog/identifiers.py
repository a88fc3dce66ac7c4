"""Identifiers of the music business: how they are written and what their check digits say.

ISRC (ISO 3901) has no check digit; ISWC (ISO 15707) has a modulo-10 one, ISNI (ISO 27729) the
modulo-11,2 of ISO/IEC 7064; an IPI name number (CISAC) is eleven digits with a modulo-101 pair.
"""

import re
from typing import Annotated

from pydantic import AfterValidator, StringConstraints


def isrc(value: str) -> str:
    """`US-ABC-26-00001` or `USABC2600001` in its twelve characters (ISO 3901:2019)."""
    code = value.replace("-", "").upper()
    if not re.fullmatch(r"[A-Z]{2}[A-Z0-9]{3}[0-9]{7}", code, re.ASCII):
        raise ValueError("is no ISRC (two letters, three letters or digits, seven digits)")
    return code


def iswc(value: str) -> str:
    """`T-034.524.680-1` or `T0345246801` in its eleven characters (ISO 15707)."""
    code = re.sub(r"[-. ]", "", value).upper()
    if not re.fullmatch(r"T[0-9]{10}", code, re.ASCII):
        raise ValueError("is no ISWC (T and ten digits)")
    digits = [int(d) for d in code[1:]]
    total = 1 + sum(weight * digit for weight, digit in enumerate(digits[:9], start=1))
    if (10 - total % 10) % 10 != digits[9]:
        raise ValueError("is no ISWC: its check digit does not fit")
    return code


def isni(value: str) -> str:
    """`0000 0001 2103 2683` in its sixteen characters (ISO 27729)."""
    code = value.replace(" ", "").upper()
    if not re.fullmatch(r"[0-9]{15}[0-9X]", code, re.ASCII):
        raise ValueError("is no ISNI (sixteen digits, the last may be X)")
    check = 0
    for digit in code[:15]:
        check = (check + int(digit)) * 2 % 11
    if "0123456789X"[(12 - check) % 11] != code[15]:
        raise ValueError("is no ISNI: its check character does not fit")
    return code


def ipi(value: str) -> str:
    """An IPI name number in its eleven digits (leading zeros may be left out)."""
    code = value.strip().zfill(11)
    if not re.fullmatch(r"[0-9]{11}", code, re.ASCII):
        raise ValueError("is no IPI name number (eleven digits)")
    total = sum(
        weight * int(digit) for weight, digit in zip(range(10, 1, -1), code[:9], strict=True)
    )
    if (101 - total % 101) % 100 != int(code[9:]):
        raise ValueError("is no IPI name number: its check digits do not fit")
    return code


_Short = StringConstraints(max_length=32)
Isrc = Annotated[str, _Short, AfterValidator(isrc)]
Iswc = Annotated[str, _Short, AfterValidator(iswc)]
Isni = Annotated[str, _Short, AfterValidator(isni)]
Ipi = Annotated[str, _Short, AfterValidator(ipi)]

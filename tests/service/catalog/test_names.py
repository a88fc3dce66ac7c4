"""Names and identifiers: one spelling, nothing hidden, nothing that is a path."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.catalog import identifiers
from service.catalog.names import clean_file_name, clean_name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "   ",
        "a\x00b",
        "a\nb",
        "a\x1b[31m",
        "a\u202eb",
        "\u2066a\u2069",
        "a\u200fb",
        "a\u2028b",
        "a\u200bb",
        "\ufeffa",
        "a\ud800",
        "a\ue000",
        "a\u00adb",
        "a\u034fb",
        "\u3164",
        "a\U000e0001b",
        "a\U000e0061",
        "a\U000e007f",
    ],
)
@pytest.mark.attack("look-alike or hidden letters")
def test_names_with_hidden_characters_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"empty|must not contain"):
        clean_name(name)


@pytest.mark.parametrize(
    "name", ["Björk", "Đặng Thái Sơn", "宇多田ヒカル", "فيروز", "AC/DC", "P!nk 👩‍🎤"]
)
def test_names_of_the_world_are_taken(name: str) -> None:
    assert clean_name(f" {name} ") == unicodedata.normalize("NFC", name)


@pytest.mark.attack("look-alike or hidden letters")
def test_two_spellings_of_a_name_are_one() -> None:
    assert clean_name("Bjo\u0308rk") == clean_name("Bj\u00f6rk")


@given(st.text())
def test_cleaning_twice_is_cleaning_once(text: str) -> None:
    try:
        once = clean_name(text)
    except ValueError:
        return
    assert clean_name(once) == once
    assert not any(unicodedata.category(c) == "Cc" for c in once)


@pytest.mark.parametrize(
    "name",
    ["../song.wav", "a/b.wav", "a\\b.wav", "C:song.wav", ".", "..", "/etc/passwd", "x" * 256],
)
@pytest.mark.attack("path in a file name")
def test_a_path_is_no_file_name(name: str) -> None:
    with pytest.raises(ValueError, match=r"path|longer"):
        clean_file_name(name)


def test_a_file_name_is_a_file_name() -> None:
    assert clean_file_name("Paper Lanterns (mix 2).wav") == "Paper Lanterns (mix 2).wav"


def test_identifiers_in_their_one_form() -> None:
    assert identifiers.isrc("us-abc-26-00001") == "USABC2600001"
    assert identifiers.iswc("T-034.524.680-1") == "T0345246801"
    assert identifiers.isni("0000 0001 2103 2683") == "0000000121032683"
    assert identifiers.isni("0000 0001 2150 090X".replace(" ", "")) == "000000012150090X"
    assert identifiers.ipi("14107338") == "00014107338"


@pytest.mark.parametrize(
    ("check", "good"),
    [
        (identifiers.iswc, "T0345246801"),
        (identifiers.isni, "0000000121032683"),
        (identifiers.ipi, "00014107338"),
    ],
)
def test_one_wrong_digit_is_noticed(check: object, good: str) -> None:
    assert callable(check)
    for index, character in enumerate(good):
        if not character.isdigit():
            continue
        wrong = good[:index] + str((int(character) + 1) % 10) + good[index + 1 :]
        with pytest.raises(ValueError, match="is no"):
            check(wrong)


@pytest.mark.parametrize(
    "code", ["", "USABC260001", "U1ABC2600001", "USABC26OOOO1", "USABC２600001"]
)
def test_what_is_no_isrc(code: str) -> None:
    with pytest.raises(ValueError, match="ISRC"):
        identifiers.isrc(code)

"""Base64url has one spelling (RFC 7515 section 2): what a stricter reader refuses is not judged."""

from collections.abc import Callable

import pytest

from tests.service.consent.export.conftest import Document, Exported, resealed

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
PLACES: dict[str, Callable[[Document], tuple[Document, str]]] = {
    "payload": lambda d: (d["grant"], "payload"),
    "template": lambda d: (d["template"], "canonical"),
    "protected": lambda d: (d["signatures"][0], "protected"),
    "signature": lambda d: (d["signatures"][0], "signature"),
    "mandate": lambda d: (d["mandates"][0], "payload"),
    "mandate-signature": lambda d: (d["mandates"][0], "signature"),
}


def spellings(value: str) -> list[str]:
    """Other texts that a lenient decoder takes for the same bytes."""
    found = [value + "=", value + "==", value + "\n", f" {value}", value[:4] + "!" + value[4:]]
    found += [value.replace("-", "+", 1), value.replace("_", "/", 1)]
    spare = {2: 4, 3: 2}.get(len(value) % 4, 0)
    if spare:
        # The last letter has bits that no byte holds.
        found.append(value[:-1] + ALPHABET[ALPHABET.index(value[-1]) ^ 1])
    return [spelling for spelling in found if spelling != value]


@pytest.mark.parametrize("place", PLACES)
def test_no_other_spelling_is_taken(exported: Exported, place: str) -> None:
    holder, name = PLACES[place](exported.document)
    for spelling in spellings(holder[name]):
        document = exported.copy()
        holder, _ = PLACES[place](document)
        holder[name] = spelling
        assert not exported.check(resealed(document)).holds, spelling[-8:]


def test_keys_that_name_no_party_leave_it_unknown_whose_they_are(exported: Exported) -> None:
    members = [{n: v for n, v in key.items() if n != "party"} for key in exported.keys["keys"]]
    report = exported.check(keys={"keys": [*members[:1], *exported.keys["keys"][1:]]})
    assert report.holds
    unknown = {check.name: check.detail for check in report.checks if check.outcome == "unknown"}
    assert "whose keys they are" in unknown
    assert exported.owner("Ada").id in unknown["whose keys they are"]
    assert exported.owner("Omar").id not in unknown["whose keys they are"]

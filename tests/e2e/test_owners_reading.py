"""What the owners' page shows is what is signed, against the service's own libraries."""

import hashlib
import json
import re
from collections.abc import Callable

import iso4217
import rfc8785
from joserfc.util import urlsafe_b64encode
from owners_house import House
from playwright.sync_api import Page

from tests.ledger_house import PRICE


def test_what_is_shown_is_what_is_signed(house: House, open_page: Callable[..., Page]) -> None:
    """The page's canonical form, amounts and refusals, against the service's own libraries."""
    story = house.story
    ada = story.owner("Ada")
    _, payload = story.grant(ada, story.template(ada, story.track(ada)))
    page = open_page()
    document = json.loads(payload)

    def canonical(value: object) -> bytes:
        said: str = page.evaluate(
            "async (value) => (await import('/static/canonical.js')).canonical(JSON.parse(value))",
            json.dumps(value),
        )
        return said.encode()

    values = {"é": [1e21, 1e-7, 0.1, -0.0, 10.0, 2**53 - 1], "€": '\u20ac\n"', "\U0001f600": {}}
    for value in (document, values):
        assert canonical(value) == rfc8785.dumps(value)  # type: ignore[arg-type]

    def read(data: bytes) -> str:
        said: str = page.evaluate(
            """async (payload) => {
                const { read } = await import('/static/reading.js');
                try {
                    const { lines } = await read(payload);
                    return lines.map(({ label, value }) => `${label}: ${value}`).join('\\n');
                } catch (error) { return `refused: ${error.message}`; }
            }""",
            urlsafe_b64encode(data).decode(),
        )
        return re.sub("[\u2068\u2069]", "", said)

    assert "Price: none" in read(payload)

    def changed(*path: str, rehash: bool = True, **members: object) -> bytes:
        """The document with other members, and with the hashes that fit them."""
        copy = json.loads(payload)
        place = copy
        for name in path:
            place = place[name]
        place.update(members)
        allowed = copy["authorization_details"]
        if rehash:
            said = {
                "template": allowed["template"],
                "track": allowed["track"]["id"],
                "terms": allowed["terms"],
            }
            allowed["template_sha256"] = hashlib.sha256(rfc8785.dumps(said)).hexdigest()
        return rfc8785.dumps(copy)

    terms = ("authorization_details", "terms")
    later = read(changed(*terms, moon_rights=True))
    assert "moon_rights (a term that is newer than this page): true" in later
    # The gate goes by the hashes: terms or shares that are not theirs would be read and not signed.
    assert read(changed(*terms, quota_per_listener=2)).startswith("Track: ")
    split = [{"party": ada.id, "side": "composition", "ppm": 1_000_000}]
    for data in (
        changed(*terms, rehash=False, quota_per_listener=2),
        changed("authorization_details", split=split),
        changed("authorization_details", "ownership", sha256="00" * 32),
    ):
        assert (
            read(data) == "refused: a hash in it is not that of the terms or shares that it shows."
        )
    refused = [
        payload + b" ",
        payload.replace(b'{"', b'{ "', 1),
        payload.replace(b'"iss":', b'"iss":"x","iss":'),
        payload.replace(b'"gen":1', b'"gen":1.0'),
        payload.replace(b'"gen":1', b'"gen":9007199254740993'),
        b"\xef\xbb\xbf" + payload,
        payload[:-1] + b"\xff}",
        changed(surprise="x"),
        changed("authorization_details", training="allowed"),
        changed("authorization_details", type="training"),
        changed(*terms, on_revocation="constructor"),
        changed(*terms, on_revocation=None),
        changed(*terms, quota_total=None),
        changed(*terms, price={**PRICE, "per_remix": 1.5}),
        changed(*terms, price={**PRICE, "per_remix": "0"}),
        changed(*terms, tempo_percent={"min": 0, "max": 0, "really": 25}),
        changed("authorization_details", "track", title="Lanterns\u202e3pm"),
        changed("authorization_details", "track", artist="A\u200bda"),
        changed(exp="never"),
    ]
    for data in refused:
        assert read(data).startswith("refused: "), data

    digits: dict[str, int] = page.evaluate(
        """async (codes) => {
            const { exponent } = await import('/static/money.js');
            return Object.fromEntries(codes.map((code) => [code, exponent(code)]));
        }""",
        [one.code for one in iso4217.Currency if one.exponent is not None],
    )
    assert len(digits) > 150
    assert digits == {code: iso4217.Currency(code).exponent for code in digits}


def test_what_is_written_is_what_is_meant(open_page: Callable[..., Page]) -> None:
    """Amounts and percentages that people write; what could mean two things is refused."""
    page = open_page()

    def whole(call: str) -> int | None:
        found: int | None = page.evaluate(f"import('/static/money.js').then((it) => it.{call})")
        return found

    for written, currency, minor in (
        ("1.99", "EUR", 199),
        ("1,99", "EUR", 199),
        (" 1.9 ", "EUR", 190),
        ("0", "EUR", 0),
        ("4.35", "EUR", 435),  # 434.99999999999994 as a product of floats.
        ("250", "JPY", 250),
        ("0.125", "KWD", 125),
        ("1.999", "EUR", None),
        ("1.5", "JPY", None),
        ("1,000.00", "EUR", None),
        ("-1", "EUR", None),
        ("1e3", "EUR", None),
        ("٣", "EUR", None),
        ("", "EUR", None),
        ("9999999999999999", "EUR", None),
    ):
        assert whole(f"minorUnits({json.dumps(written)}, {json.dumps(currency)})") == minor, written
    for written, ppm in (
        ("100", 1_000_000),
        ("33.3333", 333_333),
        ("0.0001", 1),
        ("100.0001", None),
        ("33.33333", None),
        ("50 %", None),
    ):
        assert whole(f"partsPerMillion({json.dumps(written)})") == ppm, written

"""The owners' page in a real browser: keys made there sign real grants, and the gate opens."""

import json
import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import iso4217
import pytest
import rfc8785
from joserfc.util import urlsafe_b64encode
from playwright.sync_api import Browser, Page, expect
from running import PATIENCE, run_reprise

from service.auth import Principal, Role, ServiceKeys
from service.catalog.models import Party
from service.catalog.schemas import NewShare
from service.consent.models import Grant
from service.consent.ownership import changing
from service.consent.refusals import ConsentRefused
from service.database import Database, new_id, now
from service.ingestion.models import Dispute
from service.migrations import migrate
from service.settings import Settings
from tests.cards import write_cards
from tests.ledger_house import PRICE, Books
from tests.previews_house import Draft, Parlour
from tests.stories import Granted, Owner, Story

READY_SECONDS = 60 * PATIENCE
WAIT_MS = 30_000 * PATIENCE
PHONE = {"width": 375, "height": 740}
# A name that is written from right to left, and a long one that would be markup if it could.
RIGHT_TO_LEFT = "مها الكاتبة"
WHOLE_PRICE = {**PRICE, "recording_ppm": 1_000_000}
LONG = "Llanfairpwllgwyngyllgogerychwyrndrobwllllantysiliogogogoch" * 3 + "<img src=x onerror=a()>"


@dataclass
class House:
    """The API on a database that the tests write to as well."""

    story: Story
    url: str

    def token(self, subject: str, role: Role = "artist") -> str:
        header = self.story.headers(Principal(subject=subject, role=role))["Authorization"]
        return header.removeprefix("Bearer ")

    def parlour(self, folder: Path) -> Parlour:
        """Where previews are made of drafts."""
        return Parlour(self.story, self.story.settings, folder)

    def party(self, subject: str) -> Party:
        """The party that was registered in the browser."""
        with self.story.database.snapshot() as session:
            found = session.query(Party).filter_by(subject=subject).one()
            session.expunge_all()
            return found

    def grant(self, grant_id: str) -> Grant:
        """A grant as it is kept, with its signatures."""
        with self.story.database.snapshot() as session:
            found = session.get_one(Grant, grant_id)
            assert found.signatures is not None
            session.expunge_all()
            return found


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One API for all tests; each test has owners of its own."""
    root = tmp_path_factory.mktemp("owners")
    with pytest.MonkeyPatch.context() as patch:
        (root / "cards").mkdir()
        patch.setenv("REPRISE_CARDS", str(write_cards(root / "cards")))
        settings = Settings(home=root / "home")
        database = Database(settings.database)
        migrate(database)
        story = Story(database=database, settings=settings, keys=ServiceKeys.load(settings))
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        api = run_reprise(settings.home, "api", "--port", str(port))
        try:
            api.wait_for("Application startup complete|Uvicorn running", READY_SECONDS)
            yield House(story, f"http://127.0.0.1:{port}")
        finally:
            api.end()
            database.dispose()


@pytest.fixture
def open_page(browser: Browser, house: House, tmp_path: Path) -> Iterator[Callable[..., Page]]:
    """Opens the page in a fresh profile; a script error or a broken policy fails the test."""
    faults: list[str] = []
    opened: list[Page] = []

    def open_(token: str | None = None, view: str = "", **options: Any) -> Page:
        context = browser.new_context(**options)
        context.set_default_timeout(WAIT_MS)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda m: faults.append(m.text) if is_fault(m.type, m.text) else None)
        page.goto(f"{house.url}/owners" + (f"#token={token}" if token else ""))
        if view:
            page.goto(f"{house.url}/owners#{view}")
        opened.append(page)
        return page

    yield open_
    for number, page in enumerate(opened):
        page.screenshot(path=tmp_path / f"owners-{number}.png", full_page=True)
        page.context.close()
    assert faults == []


def is_fault(kind: str, words: str) -> bool:
    """A refusal by the API is no fault of the page; the browser writes it down as one."""
    return kind == "error" and "Failed to load resource" not in words


def press(page: Page, name: str, *, answer: str | None = None) -> None:
    """Press a button and, where it asks first, the dialog's button that says `answer`."""
    page.get_by_role("button", name=name, exact=True).click()
    if answer is not None:
        page.get_by_role("dialog").get_by_role("button", name=answer, exact=True).click()


def told(page: Page, words: str) -> None:
    """The page says what was done, and the focus is there."""
    expect(page.locator("#done")).to_contain_text(words, timeout=WAIT_MS)
    assert page.evaluate("document.activeElement.id") == "done"


def register(page: Page, name: str, keeper: str) -> None:
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("You are").select_option("independent")
    page.get_by_label(keeper, exact=True).check()
    press(page, "Register")
    told(page, "is registered")


def as_owner(house: House, subject: str) -> Owner:
    """The browser's party as the stories know one; its private key is not theirs to have."""
    party = house.party(subject)
    who = Principal(subject=subject, role="artist")
    return Owner(id=party.id, name=party.name, principal=who, key=None)  # type: ignore[arg-type]


def test_a_key_made_in_the_browser_signs_and_the_gate_opens_until_it_is_taken_back(
    house: House, open_page: Callable[..., Page], tmp_path: Path
) -> None:
    story = house.story
    page = open_page(viewport=PHONE)
    expect(page.locator("#sign-in-token")).to_be_focused(timeout=WAIT_MS)
    page.keyboard.type(house.token("maha"))
    page.keyboard.press("Enter")
    register(page, RIGHT_TO_LEFT, "This browser")

    maha, label = as_owner(house, "maha"), story.owner(LONG, "label")
    assert house.party("maha").custody == "self"
    can_leave = page.evaluate(
        """async (kid) => {
            const { privateKey } = await (await import('/static/browser-keys.js')).heldKey(kid);
            return crypto.subtle.exportKey('jwk', privateKey).then(() => true, () => false);
        }""",
        house.party("maha").kid,
    )
    assert can_leave is False
    track = story.track(maha, label)
    template = story.template(
        maha,
        track,
        commercial=True,
        price=WHOLE_PRICE,
        territories=["DE", "FR"],
        quota_total=500,
        on_revocation="takedown",
    )
    grant, payload = story.grant(label, template)
    parlour = house.parlour(tmp_path)
    preview = parlour.preview(Draft((maha, label), track, template), label.principal)
    file = parlour.publish(preview)
    page.reload()

    # Everything that is signed is shown, in words.
    shown = page.locator("#todo-grants article")
    expect(shown).to_have_count(1, timeout=WAIT_MS)
    words = re.sub("[\u2068\u2069]", "", shown.inner_text())
    for said in (
        "Paper Lanterns by مها الكاتبة",
        "1.99\u00a0EUR for each remix and 3.50\u00a0EUR for a thousand plays",
        "The platform keeps 15\u00a0%",
        "Germany (DE), France (FR)",
        "500 remixes",
        "they are taken down and paid back",
        "no: only the styles listed",
        f"50\u00a0% {LONG}",
        "−10 to +10 %",
    ):
        assert said in words, f"{said!r} is not in {words}"
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]

    # What was heard of it before is kept with the signature.
    shown.locator("summary", has_text="Hear it before you sign").click()
    expect(shown.locator(".previews")).to_contain_text("seed 7: ready")
    press(page, "Hear it")
    expect(shown.locator(".previews")).to_contain_text("ready, heard", timeout=WAIT_MS)
    expect(shown.locator("audio")).to_be_visible()

    press(page, "Sign", answer="Cancel")
    assert house.grant(grant).signatures == [], "asking is not signing"
    press(page, "Sign", answer="Sign")
    told(page, "Signed. The grant waits for the other owners.")
    assert parlour.heard(grant) == {maha.id: [file.sha256]}
    assert story.sign(label, grant, payload) == "open"
    granted = Granted((maha, label), track, template, 1, grant)
    german = story.listener("lena", territory="DE")
    assert story.admit(granted, german).token

    # Another key takes the first one's place; what the first one signed stays good.
    first = house.party("maha").kid
    page.get_by_role("link", name="Party and keys").click()
    expect(page.locator("#title-keys")).to_be_focused()
    press(page, "New key in this browser", answer="New key in this browser")
    told(page, "You now sign with the key")
    assert house.party("maha").kid != first
    assert story.admit(granted, german).token
    again, second = story.grant(label, template)
    page.get_by_role("link", name="To do").click()
    press(page, "Sign", answer="Sign")
    told(page, "Signed.")
    assert story.sign(label, again, second) == "open"

    # The gate's record, and taking consent back.
    page.get_by_role("link", name="Record").click()
    expect(page.get_by_role("row", name=re.compile("a new remix.*opened"))).to_have_count(
        2, timeout=WAIT_MS
    )
    page.get_by_role("link", name="Grants").click()
    card = page.locator("#grants-content article").last
    card.get_by_role("button", name="Take back").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("taken down, and what was paid for them is paid back")
    dialog.get_by_role("button", name="Cancel").click()
    assert house.grant(grant).state == "open", "asking is not doing"
    card.get_by_role("button", name="Take back").click()
    dialog.get_by_role("button", name="Take back").click()
    told(page, "Taken back.")
    assert (house.grant(grant).state, house.grant(again).state) == ("revoked", "open")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_a_key_in_custody_signs_and_after_a_loss_a_browsers_key_does(
    house: House, open_page: Callable[..., Page]
) -> None:
    story = house.story
    page = open_page(house.token("cleo"), color_scheme="dark")
    register(page, "Cleo", "The service")
    assert house.party("cleo").custody == "service"
    cleo = as_owner(house, "cleo")
    track = story.track(cleo)
    grant, _ = story.grant(cleo, story.template(cleo, track))
    page.goto(f"{house.url}/owners#todo")
    page.reload()
    press(page, "Sign", answer="Sign")
    told(page, "the grant is open")
    page.get_by_role("link", name="Grants").click()
    expect(page.locator("#grants-content")).to_contain_text("with a key that the service keeps")

    lost = house.party("cleo").kid
    page.get_by_role("link", name="Party and keys").click()
    page.locator("#loss summary").click()
    past = (now() - timedelta(days=2)).strftime("%Y-%m-%dT%H:%M:%S")
    page.locator("#loss-since").fill(past)
    press(page, "Report the loss", answer="Report the loss")
    told(page, "marked as lost")
    listener = story.listener()
    granted = Granted((cleo,), track, house.grant(grant).template_id, 1, grant)
    with pytest.raises(ConsentRefused):
        story.admit(granted, listener)

    press(page, "Make a new key and its proof")
    told(page, "holds for ten minutes")
    sent = json.loads(page.locator("#recovery-text").input_value())
    recovery = {name: sent[name] for name in ("public_key", "proof")}
    operator = {"Authorization": f"Bearer {house.token('op', 'operator')}"}
    answer = httpx.post(
        f"{house.url}/v1/parties/{sent['party']}/keys/{lost}/recovery",
        json={**recovery, "reason": "She came in person."},
        headers=operator,
        timeout=30,
    )
    assert answer.status_code == 201, answer.text
    page.reload()
    page.get_by_role("link", name="To do").click()
    expect(page.locator("#todo-grants")).to_contain_text("has to sign again")
    press(page, "Sign", answer="Sign")
    told(page, "the grant is open")
    assert story.admit(granted, listener).token
    (kept,) = house.grant(grant).signatures
    assert kept.kid == house.party("cleo").kid != lost


def test_a_mandate_is_signed_in_one_browser_and_used_in_another(
    house: House, open_page: Callable[..., Page]
) -> None:
    story = house.story
    giver, taker = open_page(house.token("gina")), open_page(house.token("agnes", "label"))
    register(giver, "Gina", "This browser")
    register(taker, "Agnes", "This browser")
    gina, agnes = as_owner(house, "gina"), as_owner(house, "agnes")
    track = story.track(gina)
    template = story.template(gina, track)
    grant, _ = story.grant(gina, template)
    kept_grant, _ = story.grant(gina, template)
    new = {
        "grantor": gina.id,
        "agent": agnes.id,
        "tracks": [track],
        "expires_at": (now() + timedelta(days=9)).isoformat(),
    }
    headers = {"Authorization": f"Bearer {house.token('agnes', 'label')}"}
    assert httpx.post(f"{house.url}/v1/mandates", json=new, headers=headers).status_code == 201

    giver.reload()
    mandate = giver.locator("#mandates-content article")
    expect(mandate).to_contain_text("Agnes", timeout=WAIT_MS)
    mandate.get_by_role("button", name="Sign").click()
    giver.get_by_role("dialog").get_by_role("button", name="Sign").click()
    told(giver, "The mandate is in force.")

    taker.reload()
    for waiting in (1, 0):
        taker.locator("#todo-grants").get_by_role("button", name="Sign for").first.click()
        dialog = taker.get_by_role("dialog")
        expect(dialog).to_contain_text("under the mandate mnd_")
        dialog.get_by_role("button", name="Sign").click()
        expect(taker.locator("#todo-grants article")).to_have_count(waiting, timeout=WAIT_MS)
        told(taker, "the grant is open")
    (kept,) = house.grant(grant).signatures
    assert (kept.party_id, kept.signed_by) == (gina.id, agnes.id)

    giver.get_by_role("link", name="Grants").click()
    cards = giver.locator("#grants-content article")
    expect(cards.last).to_contain_text("under the mandate", timeout=WAIT_MS)
    # The list is newest first: this one the grantor signs itself, and so keeps it.
    cards.first.get_by_role("button", name="Sign it yourself").click()
    giver.get_by_role("dialog").get_by_role("button", name="Sign").click()
    told(giver, "the grant is open")
    giver.get_by_role("link", name="To do").click()
    press(giver, "End the mandate", answer="End the mandate")
    told(giver, "Ended, and with it what was signed under it.")
    assert (house.grant(grant).state, house.grant(kept_grant).state) == ("revoked", "open")


def test_a_browser_without_ed25519_says_what_to_do(
    house: House, open_page: Callable[..., Page]
) -> None:
    page = open_page()
    page.add_init_script("SubtleCrypto.prototype.generateKey = () => Promise.reject(new Error())")
    page.reload()
    page.locator("#sign-in-token").fill(house.token("lena", "listener"))
    press(page, "Continue")
    expect(page.locator("#alert")).to_contain_text("you are a listener", timeout=WAIT_MS)
    page.locator("#sign-in-token").fill(house.token("olga"))
    press(page, "Continue")
    expect(page.locator("#unsupported")).to_contain_text("reprise sign", timeout=WAIT_MS)
    expect(page.get_by_label("This browser", exact=True)).to_be_disabled()
    expect(page.get_by_label("The service", exact=True)).to_be_checked()
    # Every word comes from the module of words.
    assert page.evaluate(
        "[...document.querySelectorAll('[data-text]')].every((place) => place.textContent)"
    )


def test_a_statement_a_proposal_and_a_dispute(house: House, open_page: Callable[..., Page]) -> None:
    story = house.story
    books = Books(story, story.settings)
    ada, label = story.owner("Ada"), story.owner("Label", "label")
    granted = books.priced(
        (ada, "recording", 400_000),
        (label, "recording", 600_000),
        price=WHOLE_PRICE,
        title="=Sums",
    )
    job = books.publish(granted)
    proposed = [
        NewShare(party_id=ada.id, side="recording", ppm=250_000),
        NewShare(party_id=label.id, side="recording", ppm=750_000),
    ]
    with story.database.transaction() as session:
        changing.propose(session, label.principal, granted.track_id, proposed)
    later = story.track(story.owner("Copyist"))
    story.set_track(later, state="held")
    with story.database.transaction() as session:
        held = Dispute(
            id=new_id("dsp"),
            track_id=later,
            earlier_track_id=granted.track_id,
            kind="sound",
            score=0.5,
            offset_seconds=10.0,
            state="open",
        )
        session.add(held)
    page = open_page(house.token(ada.principal.subject), "statements")
    line = page.get_by_role("row").filter(has_text=job)
    expect(line).to_contain_text(granted.grant_id, timeout=WAIT_MS)
    # 1.99 less 15 %, of which 40 %: 0.6766.
    cells = [cell.strip("\u2068\u2069") for cell in line.get_by_role("cell").all_inner_texts()]
    assert cells[1:] == [
        "a remix", "=Sums", job, f"{granted.template_id}@1", granted.grant_id,
        "owner of the recording", "40\u00a0%", "0.68\u00a0EUR", cells[-1],
    ]  # fmt: skip
    with page.expect_download() as download:
        press(page, "Download as CSV")
    table = Path(download.value.path()).read_text()
    assert job in table
    assert "'=Sums" in table

    page.get_by_role("link", name="To do").click()
    proposal = page.locator("#todo-proposals article")
    expect(proposal).to_contain_text("25\u00a0% of the recording")
    press(page, "Agree", answer="Agree")
    told(page, "The new shares are in force.")
    assert house.grant(granted.grant_id).state == "superseded"

    dispute = page.locator("#todo-disputes article")
    expect(dispute).to_contain_text("50\u00a0% of what overlaps agrees")
    dispute.get_by_role("textbox").fill("It is a licensed copy.")
    press(page, "Release the held track")
    told(page, "Released.")

    # A refusal is shown with the limit that was met and who can change it.
    page.get_by_role("link", name="Grants").click()
    story.set_track(granted.track_id, state="held")
    press(page, "Make it anew for the present owners")
    expect(page.locator("#alert")).to_contain_text("It can be changed by:", timeout=WAIT_MS)
    expect(page.locator("#alert")).to_contain_text("Limit:")
    assert page.evaluate("document.activeElement.id") == "alert"


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

    def changed(*path: str, **members: object) -> bytes:
        copy = json.loads(payload)
        place = copy
        for name in path:
            place = place[name]
        place.update(members)
        return rfc8785.dumps(copy)

    terms = ("authorization_details", "terms")
    later = read(changed(*terms, moon_rights=True))
    assert "moon_rights (a term that is newer than this page): true" in later
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

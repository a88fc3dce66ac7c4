"""Signing in the browser: keys made there sign real grants, and the gate opens."""

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import httpx
from owners_house import PHONE, WAIT_MS, WHOLE_PRICE, House, as_owner, press, register, told
from playwright.sync_api import Page, expect

from service.database import now
from tests.previews_house import Draft
from tests.stories import Granted

# A name that is written from right to left, and a long one that would be markup if it could.
RIGHT_TO_LEFT = "مها الكاتبة"
LONG = "Llanfairpwllgwyngyllgogerychwyrndrobwllllantysiliogogogoch" * 3 + "<img src=x onerror=a()>"


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

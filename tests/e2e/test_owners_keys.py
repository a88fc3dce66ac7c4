"""Keys on the owners' page: in custody, in the browser, lost, and none where there can be none."""

import json
from collections.abc import Callable
from datetime import timedelta

import httpx
import pytest
from owners_house import WAIT_MS, House, as_owner, press, register, told
from playwright.sync_api import Page, expect

from service.consent.refusals import ConsentRefused
from service.database import now
from tests.stories import Granted


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


def test_a_key_that_cannot_be_kept_is_an_error_and_no_endless_wait(
    open_page: Callable[..., Page],
) -> None:
    """Some browsers make a key and cannot store its handle (DataCloneError)."""
    said = open_page().evaluate(
        """async () => {
            const { makeKey } = await import('/static/browser-keys.js');
            IDBObjectStore.prototype.add = () => { throw new DOMException('', 'DataCloneError'); };
            const late = new Promise((resolve) => setTimeout(resolve, 5000, 'late'));
            return Promise.race([makeKey().catch((error) => error.name), late]);
        }"""
    )
    assert said == "DataCloneError"

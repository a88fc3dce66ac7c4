"""The operators' page: what nobody else may decide, each with its reason."""

import json
from collections.abc import Callable
from pathlib import Path

from owners_house import PHONE, WAIT_MS, WHOLE_PRICE, House, as_owner, press, register, told
from playwright.sync_api import Page, expect
from sqlalchemy import select

from service.catalog.models import Ownership, Track
from service.catalog.schemas import NewShare
from service.consent.models import GateDecision
from service.consent.ownership import changing
from service.database import new_id
from service.ingestion.models import Dispute
from service.jobs.models import Job
from service.provenance.quarantine.holding import hold_back
from tests.ledger_house import Books

OPERATORS = "/operators"


def held(house: House, name: str) -> tuple[str, str]:
    """A track that is held for sounding like another: the dispute's id, the held track's."""
    story = house.story
    earlier, later = story.track(story.owner(f"{name} first")), story.track(story.owner(name))
    story.set_track(later, state="held", title=f"{name}'s copy")
    dispute_id = new_id("dsp")
    with story.database.transaction() as session:
        session.add(
            Dispute(
                id=dispute_id,
                track_id=later,
                earlier_track_id=earlier,
                kind="sound",
                score=0.5,
                offset_seconds=10.0,
                state="open",
            )
        )
    return dispute_id, later


def test_disputes_and_proposals_are_decided_with_a_reason(
    house: House, open_page: Callable[..., Page]
) -> None:
    story = house.story
    rejected, copy = held(house, "Otto")
    released, other = held(house, "Lina")
    ada, heir = story.owner("Ada"), story.owner("Heir")
    track = story.track(ada)
    with story.database.transaction() as session:
        changing.propose(
            session,
            ada.principal,
            track,
            [NewShare(party_id=heir.id, side="recording", ppm=1_000_000)],
        )
    page = open_page(house.token("olga", "operator"), path=OPERATORS, viewport=PHONE)
    expect(page.locator("#acting")).to_contain_text("olga")

    # The decisions are the service's own, asked of its document; a short reason is refused beside.
    card = page.locator("#disputes article", has_text="Otto's copy")
    schema = page.evaluate("fetch('/openapi.json').then((answer) => answer.json())")
    allowed = schema["components"]["schemas"]["NewDecision"]["properties"]["decision"]["enum"]
    offered = card.locator("option").evaluate_all("(all) => all.map((one) => one.value)")
    assert offered == allowed
    card.get_by_label("Decision").select_option("reject")
    card.get_by_label("Why").fill("short")
    card.get_by_role("button", name="Decide").click()
    expect(card.locator(".wrong")).to_be_visible()
    card.get_by_label("Why").fill("It is Otto's upload of another's song.")
    card.get_by_role("button", name="Decide").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("its files go")
    dialog.get_by_role("button", name="Cancel").click()
    with story.database.snapshot() as session:
        assert session.get_one(Dispute, rejected).state == "open", "asking is not deciding"
    card.get_by_role("button", name="Decide").click()
    dialog.get_by_role("button", name="Decide").click()
    told(page, "the dispute is rejected")
    card = page.locator("#disputes article", has_text="Lina's copy")
    card.get_by_label("Decision").select_option("release")
    card.get_by_label("Why").fill("Both have a licence.")
    card.get_by_role("button", name="Decide").click()
    dialog.get_by_role("button", name="Decide").click()
    told(page, "the dispute is released")
    with story.database.snapshot() as session:
        assert session.get_one(Track, copy).state == "rejected"
        assert session.get_one(Track, other).state == "ready"
        assert session.get_one(Dispute, released).reason == "Both have a licence."

    # A proposal that somebody does not agree to.
    card = page.locator("#proposals article", has_text="Heir")
    card.get_by_label("Why").fill("A court ordered it, 12 O 34/26.")
    card.get_by_role("button", name="Put in force").click()
    dialog.get_by_role("button", name="Put in force").click()
    told(page, "in force")
    with story.database.snapshot() as session:
        now = session.scalars(
            select(Ownership).where(Ownership.track_id == track, Ownership.state == "in_force")
        ).one()
        assert now.reason == "A court ordered it, 12 O 34/26."
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_a_lost_key_is_let_in_by_an_operator(house: House, open_page: Callable[..., Page]) -> None:
    owner = open_page(house.token("rita"))
    register(owner, "Rita", "This browser")
    lost = house.party("rita").kid
    page = open_page(house.token("olga", "operator"), "keys", path=OPERATORS)
    page.get_by_label("Party id").fill(house.party("rita").id)
    page.get_by_label("Key", exact=True).fill(lost)
    press(page, "Report the loss", answer="Report the loss")
    told(page, "marked as lost")

    owner.goto(f"{house.url}/owners#keys")
    owner.reload()
    press(owner, "Make a new key and its proof")
    expect(owner.locator("#recovery-text")).not_to_have_value("")
    sent = owner.locator("#recovery-text").input_value()
    pasted = page.get_by_label("The text that the party sent")
    pasted.fill(json.dumps({"party": "x"}))
    page.get_by_label("How you know the party").fill("She came in person.")
    press(page, "Let the key in")
    expect(page.locator(".wrong")).to_contain_text("not the text")
    pasted.fill(sent)
    press(page, "Let the key in")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Rita")
    expect(dialog).to_contain_text(lost)
    dialog.get_by_role("button", name="Let the key in").click()
    told(page, "The party now signs with the key")
    assert house.party("rita").kid != lost
    assert as_owner(house, "rita").id in sent


def test_a_remix_is_paid_back_and_taken_down_and_the_record_shows_it(
    house: House, open_page: Callable[..., Page], tmp_path: Path
) -> None:
    story = house.story
    books = Books(story, story.settings)
    ada = story.owner("Ada")
    job = books.publish(books.priced((ada, "recording", 1_000_000), price=WHOLE_PRICE))
    page = open_page(house.token("olga", "operator"), "remixes", path=OPERATORS)
    refund = page.locator("article", has_text="Pay it back")
    refund.get_by_label("Remix id").fill("job_nothing")
    refund.get_by_label("Why").fill("A complaint")
    press(page, "Pay it back", answer="Pay it back")
    expect(page.locator("#alert")).to_contain_text("Not found", timeout=WAIT_MS)
    refund.get_by_label("Remix id").fill(job)
    press(page, "Pay it back", answer="Pay it back")
    told(page, "1 posting is reversed")
    takedown = page.locator("article", has_text="Take it down")
    takedown.get_by_label("Remix id").fill(job)
    takedown.get_by_label("Why").fill("A court's order")
    press(page, "Take it down", answer="Take it down")
    told(page, "Taken down")

    page.get_by_role("link", name="Record").click()
    page.locator("#decisions").get_by_label("Remix id").fill(job)
    press(page, "Show")
    with story.database.snapshot() as session:
        known = session.scalars(select(GateDecision).where(GateDecision.job_id == job)).all()
        assert session.get_one(Job, job).track_id is not None
    expect(page.locator("#decisions tbody tr")).to_have_count(len(known), timeout=WAIT_MS)
    expect(page.locator("#decisions")).to_contain_text("publishing")

    # What did not leave: with the reasons, whatever stands in them.
    reason = "the assertion is not the record's <b>at all</b>"
    with story.database.transaction() as session:
        case = hold_back(session, job_id=job, stage="stamp", reasons=[reason]).id
    page.get_by_role("link", name="Quarantine").click()
    held_back = page.locator("#quarantined article", has_text=case)
    expect(held_back).to_contain_text(reason, timeout=WAIT_MS)
    held_back.get_by_role("button", name="Discard").click()
    page.get_by_role("dialog").get_by_role("button", name="Discard").click()
    told(page, "Discarded.")
    expect(held_back).to_contain_text("by \u2068olga\u2069")


def test_nobody_else_gets_in(house: House, open_page: Callable[..., Page]) -> None:
    page = open_page(house.token("ada"), path=OPERATORS)
    expect(page.locator("#alert")).to_contain_text("for operators", timeout=WAIT_MS)
    expect(page.locator("#sign-in-token")).to_be_visible()
    assert page.evaluate("sessionStorage.length") == 0
    assert page.evaluate(
        "[...document.querySelectorAll('[data-text]')].every((place) => place.textContent)"
    )

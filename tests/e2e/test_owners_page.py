"""What else owners do on their page: statements, changes of ownership, disputes."""

from collections.abc import Callable
from pathlib import Path

from owners_house import WAIT_MS, WHOLE_PRICE, House, press, told
from playwright.sync_api import Page, expect

from service.catalog.schemas import NewShare
from service.consent.ownership import changing
from service.database import new_id
from service.ingestion.models import Dispute
from tests.ledger_house import Books


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
    told(page, "Your word is noted.")
    expect(dispute).to_contain_text("1 owner of the earlier track would still have to release it")
    others = open_page(house.token(label.principal.subject, "label"))
    dispute = others.locator("#todo-disputes article")
    dispute.get_by_role("textbox").fill("It is a licensed copy.", timeout=WAIT_MS)
    press(others, "Release the held track")
    told(others, "Released.")

    # A refusal is shown with the limit that was met and who can change it.
    page.get_by_role("link", name="Grants").click()
    story.set_track(granted.track_id, state="held")
    press(page, "Make it anew for the present owners")
    expect(page.locator("#alert")).to_contain_text("It can be changed by:", timeout=WAIT_MS)
    expect(page.locator("#alert")).to_contain_text("Limit:")
    assert page.evaluate("document.activeElement.id") == "alert"

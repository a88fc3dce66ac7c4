"""An artist's whole walk in the browser: from a recording to a consent, without a terminal."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
from owners_house import FEE_PPM, PHONE, WAIT_MS, House, as_owner, press, register, told
from playwright.sync_api import Page, expect
from sqlalchemy import select

from service.catalog.models import Track, Upload
from service.jobs.models import Job
from service.templates.models import Draft, TemplateVersion

ISRC = "DE-REP-26-00001"


def wrong(page: Page, label: str) -> str:
    """What the page says beside a control that does not fit; the focus is in it."""
    control = page.get_by_label(label, exact=True)
    expect(control).to_have_attribute("aria-invalid", "true", timeout=WAIT_MS)
    expect(control).to_be_focused()
    said: str = page.locator(f"#{control.get_attribute('aria-errormessage')}").inner_text()
    return said


def test_an_artist_walks_from_a_recording_to_an_open_grant(
    house: House, open_page: Callable[..., Page], tmp_path: Path
) -> None:
    story = house.story
    page = open_page(house.token("wanda"), viewport=PHONE)
    register(page, "Wanda", "The service")
    wanda, label = as_owner(house, "wanda"), story.owner("Small Label", "label")

    # A track, with shares of both sides; what does not fit is said beside its field.
    page.get_by_role("link", name="Tracks", exact=True).click()
    page.get_by_role("link", name="Register a track").click()
    press(page, "Register a track")
    assert wrong(page, "Title")
    page.get_by_label("Title", exact=True).fill("Night Ferry")
    page.get_by_label("ISRC", exact=True).fill("nonsense")
    recording, composition = (
        page.get_by_role("group", name=f"Who owns the {side}")
        for side in ("recording", "composition")
    )
    recording.get_by_label("Per cent").fill("66.6667")
    recording.get_by_role("button", name="Add an owner").click()
    recording.get_by_label("Party id").last.fill(label.id)
    recording.get_by_label("Per cent").last.fill("33.3332")
    expect(recording).to_contain_text("Small Label")
    composition.get_by_role("button", name="Add an owner").click()
    composition.get_by_label("Party id").fill(wanda.id)
    composition.get_by_label("Per cent").fill("100")
    press(page, "Register a track")
    expect(recording).to_contain_text("99.9999\u00a0% together, not exactly 100")
    recording.get_by_label("Per cent").last.fill("33,3333")
    press(page, "Register a track")
    assert "is no ISRC" in wrong(page, "ISRC")
    page.get_by_label("ISRC", exact=True).fill(ISRC)
    press(page, "Register a track")
    told(page, "Night Ferry")
    with story.database.snapshot() as session:
        track = session.scalars(select(Track).where(Track.isrc == ISRC.replace("-", ""))).one()
        track_id = track.id
        parts = {(share.party_id, share.side, share.ppm) for share in track.shares}
    assert parts == {
        (wanda.id, "recording", 666_667),
        (label.id, "recording", 333_333),
        (wanda.id, "composition", 1_000_000),
    }

    # Its audio: refused for what it is, then taken, and followed until a worker has checked it.
    press(page, "Send and have it checked")
    assert "Choose a file" in wrong(page, "The song")
    text = tmp_path / "notes.txt"
    text.write_text("no music")
    page.get_by_label("The song").set_input_files(text)
    press(page, "Send and have it checked")
    expect(page.locator("#alert")).to_be_visible(timeout=WAIT_MS)
    song = tmp_path / "Fähre “Nacht”.wav"
    soundfile.write(song, np.zeros((44_100 * 4, 2), dtype=np.float32), 44_100)
    page.get_by_label("The song").set_input_files(song)
    press(page, "Send and have it checked")
    told(page, "It is being checked now.")
    with story.database.snapshot() as session:
        upload = session.scalars(select(Upload).where(Upload.track_id == track_id)).one()
        assert (upload.filename, upload.bytes) == (song.name, song.stat().st_size)
    expect(page.locator("#tracks-content")).to_contain_text("being decoded and checked")
    story.set_track(
        track_id, state="ready", audio_sha256="ab" * 32, duration_seconds=200.0, channels=2
    )
    told(page, "The track is ready.")

    # A template, with every limit; the platform's fee is the service's.
    page.get_by_label("Part", exact=True).select_option("drums")
    page.get_by_label("Made by the model").select_option("test-controls")
    page.get_by_label("The song is taken apart by").select_option("test-separator")
    page.get_by_label("brushed jazz", exact=True).uncheck()
    page.get_by_label("a busy part").uncheck()
    page.get_by_label("Swung or straight").uncheck()
    tempo = page.get_by_role("group", name="Tempo")
    tempo.get_by_label("From").fill("5")
    tempo.get_by_label("To").fill("-5")
    page.get_by_label("Remixes in all").fill("500")
    page.get_by_label("Only in these countries").fill("de, at xx")
    expect(page.locator("#tracks-content")).to_contain_text("Germany, Austria, “XX” is no country")
    page.get_by_label("Offered not before").fill("2026-01-01T00:00:00")
    page.get_by_label("Remixes may be used commercially").check()
    expect(page.locator("#tracks-content")).to_contain_text("The platform keeps 15\u00a0% of it")
    page.get_by_label("Currency").fill("eur")
    page.get_by_label("For each remix").fill("1,999")
    page.get_by_label("For a thousand plays").fill("3.5")
    page.get_by_label("Of what is shared").fill("60")
    page.get_by_label("Published remixes").select_option("takedown")
    press(page, "Make the template")
    assert "less than where it begins" in page.locator(".wrong").inner_text()
    tempo.get_by_label("From").fill("-5")
    tempo.get_by_label("To").fill("5")
    press(page, "Make the template")
    assert "no country" in wrong(page, "Only in these countries")
    page.get_by_label("Only in these countries").fill("de, at")
    press(page, "Make the template")
    assert "at most 2 decimals" in wrong(page, "For each remix")
    page.get_by_label("For each remix").fill("1,99")
    press(page, "Make the template")
    told(page, "The template is made.")
    with story.database.snapshot() as session:
        made = session.scalars(
            select(TemplateVersion).where(TemplateVersion.track_id == track_id)
        ).one()
        template, terms = made.template_id, made.terms
    assert terms["styles"] == ["rock", "funk"]
    assert terms["checkpoints"] == ["test-controls", "test-separator"]
    assert (terms["densities"], terms["fills"], terms["swing"]) == (
        ["sparse", "normal"], True, False,
    )  # fmt: skip
    assert terms["tempo_percent"] == {"min": -5, "max": 5}
    assert (terms["quota_total"], terms["territories"]) == (500, ["DE", "AT"])
    assert terms["price"] == {
        "currency": "EUR",
        "per_remix": 199,
        "per_thousand_plays": 350,
        "platform_fee_ppm": FEE_PPM,
        "recording_ppm": 600_000,
    }
    assert terms["on_revocation"] == "takedown"

    # The next version begins with what the first one says.
    version = page.locator("article", has_text="Template version 1")
    version.get_by_text("Change it: make the next version").click()
    version.get_by_label("funk", exact=True).uncheck()
    version.get_by_role("button", name="Make the next version").click()
    told(page, "Version 2 is made.")
    with story.database.snapshot() as session:
        second = session.get_one(TemplateVersion, (template, 2)).terms
    assert second == {**terms, "styles": ["rock"]}

    # Previews of both styles; one of them is deleted again. Then the draft that nobody wants goes.
    version.get_by_text("Hear it before you sign").click()
    version.get_by_label("Style", exact=True).select_option("every style, one each")
    version.get_by_label("Seed").fill("7")
    version.get_by_role("button", name="Make a preview").click()
    told(page, "2 previews are on their way.")
    rows = version.locator(".previews li")
    expect(rows).to_have_count(2, timeout=WAIT_MS)
    rows.first.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(rows).to_have_count(1, timeout=WAIT_MS)
    with story.database.snapshot() as session:
        jobs = session.scalars(select(Job).where(Job.track_id == track_id, Job.seed == 7)).all()
        assert sorted(job.choices["style"] for job in jobs if job.choices) == ["funk", "rock"]
    page.locator("article", has_text="Template version 2").get_by_role(
        "button", name="Discard this version"
    ).click()
    page.get_by_role("dialog").get_by_role("button", name="Discard this version").click()
    told(page, "Discarded")
    with story.database.snapshot() as session:
        assert session.get_one(Draft, (template, 2)).discarded_at is not None

    # The grant, and the artist's own signature.
    version.get_by_text("Make a grant of it").click()
    version.get_by_role("button", name="Make the grant").click()
    told(page, "The grant is made")
    page.get_by_role("link", name="To do").click()
    waiting = page.locator("#todo-grants article")
    expect(waiting).to_contain_text("−5 to +5 %", timeout=WAIT_MS)
    press(page, "Sign", answer="Sign")
    told(page, "Signed. The grant waits for the other owners.")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]

    # A mandate for the label, made here and signed here.
    page.get_by_text("Let another party sign for you").click()
    page.get_by_label("Who may sign for you (party id)").fill(label.id)
    press(page, "Make the mandate")
    told(page, "The mandate is made.")
    mandate = page.locator("#mandates-content article")
    expect(mandate).to_contain_text("Small Label")
    mandate.get_by_role("button", name="Sign").click()
    page.get_by_role("dialog").get_by_role("button", name="Sign").click()
    told(page, "The mandate is in force.")


def test_nothing_of_one_owner_stays_for_the_next(
    house: House, open_page: Callable[..., Page]
) -> None:
    """A tab is signed out by a token that ended, and by another token in its address."""
    story = house.story
    ada, eve = story.owner("Ada of the first tab"), story.owner("Eve")
    story.track(ada)
    page = open_page(house.token(ada.principal.subject), "tracks")
    expect(page.locator("#tracks-content")).to_contain_text("Paper Lanterns", timeout=WAIT_MS)
    page.evaluate("sessionStorage.setItem('reprise.owner-token', 'x.y.z')")
    page.get_by_role("link", name="Statements").click()
    expect(page.locator("#sign-in-token")).to_be_visible(timeout=WAIT_MS)
    everything = page.evaluate("document.body.textContent")
    assert "Paper Lanterns" not in everything
    assert "Ada of" not in everything

    page.evaluate("(token) => { location.hash = `token=${token}`; }", house.token("eve-unknown"))
    expect(page.locator("#registration")).to_be_visible(timeout=WAIT_MS)
    page.evaluate(
        "(token) => { location.hash = `token=${token}`; }", house.token(eve.principal.subject)
    )
    expect(page.locator("#acting")).to_contain_text("Eve", timeout=WAIT_MS)
    assert "token" not in page.url


def test_previews_under_way_leave_the_page_its_connections(
    house: House, open_page: Callable[..., Page], tmp_path: Path
) -> None:
    """Seven at once: a browser gives a page six connections to one service."""
    story = house.story
    ada = story.owner("Ada")
    parlour = house.parlour(tmp_path)
    draft = parlour.draft(ada)
    jobs = [parlour.preview(draft, seed=seed) for seed in range(7)]
    story.grant(ada, draft.template_id)
    page = open_page(house.token(ada.principal.subject))
    page.get_by_text("Hear it before you sign").click(timeout=WAIT_MS)
    expect(page.locator(".previews li")).to_have_count(7, timeout=WAIT_MS)
    page.get_by_role("link", name="Party and keys").click()
    expect(page.locator("#keys-content")).to_contain_text(ada.id, timeout=5000)
    page.goto(f"{house.url}/owners#todo")
    page.reload()
    page.get_by_text("Hear it before you sign").click()
    expect(page.locator(".previews li")).to_have_count(7, timeout=WAIT_MS)
    parlour.publish(jobs[3])
    expect(page.locator(".previews li", has_text=re.compile("seed 3: ready"))).to_have_count(
        1, timeout=WAIT_MS
    )


def test_a_name_cannot_leave_its_header(open_page: Callable[..., Page]) -> None:
    """The file's name travels in a header of the upload (RFC 8187)."""
    page = open_page()
    seen: list[str] = []
    page.route(
        "**/v1/tracks/*/audio",
        lambda route: (
            seen.append(route.request.headers["content-disposition"]),
            route.fulfill(status=201, body="{}", content_type="application/json"),
        )[-1],
    )
    names = ['a"; filename="b.wav', "c\r\nX-Evil: 1", "naïve ☃'().wav"]
    page.evaluate(
        """async (names) => {
            const { upload } = await import('/static/api.js');
            for (const name of JSON.parse(names)) {
                await upload('/v1/tracks/trk/audio', new File(['x'], name), () => {});
            }
        }""",
        json.dumps(names),
    )
    assert len(seen) == 3
    for header in seen:
        assert re.fullmatch(r"attachment; filename\*=UTF-8''[A-Za-z0-9%._~!*-]+", header), header

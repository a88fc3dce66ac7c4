"""The verify page: any file dropped on it, and what is known of it in words, for anybody."""

import base64
import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
from numpy.typing import NDArray
from owners_house import PHONE, WAIT_MS, House
from playwright.sync_api import FilePayload, Page, Route, expect

from service.edge import MAX_VERIFY_BYTES
from service.provenance.schemas import CreditLine, Found, Made, Song, Verdict
from service.recognition.index import index_recordings
from service.recognition.keeping import keep_track
from service.recognition.landmarks import RATE as LANDMARK_RATE
from service.recognition.measuring import measure
from service.storage import file_sha256
from service.watermark.embedding import embed
from service.watermark.key import load_key
from service.watermark.measured import measured
from service.watermark.payload import payload_of
from tests.service.provenance.conftest import Studio, open_studio
from tests.watermark_music import RATE, music
from workers.stamping import TrackRecord
from workers.stamping.watermark import soft_binding

VERIFY = "**/v1/verify"
SCRIPT = "<script>window.hit = 1</script><img src=x onerror='window.hit = 2'>"
SQL = "Robert'); DROP TABLE jobs;--"
TURNED = "Ada \u202egnp.exe"


@pytest.fixture
def studio(house: House, tmp_path: Path) -> Studio:
    return open_studio(house.story, house.story.settings, tmp_path)


@pytest.fixture
def page(open_page: Callable[..., Page]) -> Page:
    return open_page(path="/verify")


def give(page: Page, name: str, content: bytes) -> None:
    """Choose a file by hand."""
    chosen: FilePayload = {"name": name, "mimeType": "audio/flac", "buffer": content}
    expect(page.locator("#file")).to_be_enabled()
    page.locator("#file").set_input_files(chosen)


def drop(page: Page, name: str, content: bytes, onto: str = "body") -> None:
    """Drop a file, as a browser tells the page of it."""
    transfer = page.evaluate_handle(
        """([name, content]) => {
            const transfer = new DataTransfer();
            const bytes = Uint8Array.from(atob(content), (one) => one.charCodeAt(0));
            transfer.items.add(new File([bytes], name, { type: "audio/flac" }));
            return transfer;
        }""",
        [name, base64.b64encode(content).decode()],
    )
    for event in ("dragenter", "dragover", "drop"):
        page.dispatch_event(onto, event, {"dataTransfer": transfer})


def answered(page: Page, word: str) -> str:
    """Wait for the answer; all that is said about the file."""
    expect(page.locator("#answer-word")).to_have_text(word, timeout=WAIT_MS)
    expect(page.locator("#busy")).to_be_hidden()
    return page.locator("#file-at-hand").inner_text()


def said(page: Page, term: str) -> str:
    """What stands beside a term."""
    row = page.locator("#file-at-hand dl > div").filter(has=page.locator(f"dt:text-is('{term}')"))
    return row.locator("dd").inner_text()


def reports(page: Page, verdict: Verdict) -> None:
    """Every file is answered with this from now on."""
    page.route(VERIFY, lambda route: route.fulfill(json=verdict.model_dump(mode="json")))


def converted(samples: NDArray[np.float32], path: Path) -> bytes:
    """As it arrives from somebody's phone: an MP3 without any metadata."""
    soundfile.write(path, samples.T, RATE, format="MP3")
    return path.read_bytes()


def test_a_dropped_remix_is_verified_with_all_that_it_says(
    page: Page, studio: Studio, house: House
) -> None:
    _, stamped = studio.publish()
    sent: list[dict[str, str]] = []
    page.on("request", lambda r: sent.append(r.all_headers()) if "verify" in r.url else None)
    page.evaluate("sessionStorage.setItem('reprise.token', 'of somebody who listens')")

    drop(page, "my song.flac", stamped.path.read_bytes())

    told = answered(page, "Verified")
    assert page.locator("#answer").get_attribute("data-answer") == "verified"
    assert "my song.flac · " in told
    assert said(page, "main artist") == "Ada"
    assert said(page, "drums").startswith("test-drums")
    assert page.locator("#papers .made").inner_text() == "AI"
    assert said(page, "made anew") == "drums"
    assert said(page, "style") == "rock"
    assert said(page, "made from") == "Paper Lanterns, Ada"
    assert said(page, "generator").startswith("test-drums")
    assert said(page, "consent").startswith("stands today")
    assert said(page, "credential").startswith("Trusted")
    assert page.title().startswith("Verified · ")
    # Neither the file's name nor who listens in this tab goes along.
    (headers,) = [each for each in sent if each.get("content-type")]
    assert headers["content-type"] == "application/octet-stream"
    assert "authorization" not in headers
    assert not any("my" in value and "song" in value for value in headers.values())

    page.get_by_text("The same as JSON").click()
    document = json.loads(page.locator("#json").inner_text())
    assert document["answer"] == "verified"
    with page.expect_download() as download:
        page.get_by_role("button", name="Save the JSON").click()
    assert json.loads(Path(download.value.path()).read_text()) == document

    studio.house.revoke(studio.granted)
    drop(page, "my song.flac", stamped.path.read_bytes(), onto="#json")
    expect(page.locator("#papers")).to_contain_text("has been taken back since", timeout=WAIT_MS)


def test_a_file_is_chosen_by_keyboard_and_an_altered_one_is_told(
    page: Page, studio: Studio, tmp_path: Path
) -> None:
    _, stamped = studio.publish("wav")
    data = bytearray(stamped.path.read_bytes())
    data[60_000] ^= 1
    (tmp_path / "changed.wav").write_bytes(data)

    # Listened for early: the browser is told of it beside what follows, not before it.
    page.on("filechooser", lambda chooser: chooser.set_files(tmp_path / "changed.wav"))
    for wanted in ("skip", "file"):
        page.keyboard.press("Tab")
        assert wanted in page.evaluate(
            "document.activeElement.id + document.activeElement.className"
        )
    outline = "getComputedStyle(document.querySelector('#file + label')).outlineStyle"
    assert page.evaluate(outline) == "solid", "the focus is seen though the field is not"
    assert page.get_by_label("Choose a file").get_attribute("id") == "file"
    page.keyboard.press("Enter")

    told = answered(page, "Altered")
    assert "Verified" not in told
    assert page.locator("#reasons li").count() >= 1
    expect(page.locator("#untrusted")).to_contain_text("any of it may be false")
    assert said(page, "consent").startswith("not looked up")
    assert said(page, "credential").startswith("Do not rely on it")


@pytest.mark.attack("markup in what a file says")
def test_what_a_signed_file_says_is_text_and_never_markup(page: Page, studio: Studio) -> None:
    track = TrackRecord(
        track_id=studio.granted.track_id,
        title=SCRIPT,
        artist=TURNED,
        sha256=file_sha256(studio.original),
    )
    stamped = studio.stamp(studio.ask(), style=SCRIPT, track=track, kept=(SQL,))

    drop(page, f"{SCRIPT[:40]}.flac", stamped.path.read_bytes())

    told = answered(page, "Verified")
    assert said(page, "style") == SCRIPT
    assert said(page, "kept as they were") == SQL
    assert said(page, "made from") == f"{SCRIPT}, Ada \ufffdgnp.exe"
    assert "\u202e" not in told
    assert page.locator("main script, main img, main iframe, main style").count() == 0
    page.get_by_text("The same as JSON").click()
    source = page.locator("#json").inner_text()
    assert "\u202e" not in source
    assert json.loads(source)["original"]["artist"] == TURNED
    assert page.evaluate("window.hit") is None


@pytest.mark.attack("markup in what a file says")
def test_claims_without_end_neither_break_the_page_nor_run(open_page: Callable[..., Page]) -> None:
    page = open_page(path="/verify", viewport=PHONE)
    long = SCRIPT + "x" * (2000 - len(SCRIPT))
    piled = "A" + "\u0301" * 1500
    made = Made(
        part=long, style=long, kept=[long] * 16, seed=2**53, statement=long, code_version=long
    )
    reports(
        page,
        Verdict(
            answer="altered",
            verdict="invalid",
            summary="Changed.",
            reasons=[long[:500]] * 20,
            ours=True,
            title=long,
            manifest_id=long[:200],
            made=made,
            credits=[CreditLine(name=piled, role=long, ai=True)] * 200,
            unsearched=[long],
            found=[
                Found(
                    word="similar",
                    method=long,
                    detail=long,
                    song=Song(track="t", title=long, artist=long, isrc=long),
                )
            ],
        ),
    )

    give(page, "x" * 5000 + ".flac", b"RIFF")

    told = answered(page, "Altered")
    assert "\u0301" * 5 not in told
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert page.locator("main script, main img").count() == 0
    assert page.evaluate("window.hit") is None


def test_a_converted_remix_is_recovered_and_called_nothing_more(
    page: Page, studio: Studio, tmp_path: Path
) -> None:
    job_id = studio.ask()
    key = load_key(studio.house.settings)
    marked = embed(music(6.0), RATE, payload_of(job_id), key)
    soundfile.write(studio.mix, marked.T, RATE, subtype="FLOAT")
    stamped = studio.stamp(job_id, soft_bindings=(soft_binding(job_id),))
    studio.release(job_id, stamped)

    drop(page, "from a phone.mp3", converted(marked, tmp_path / "copy.mp3"))

    told = answered(page, "Recovered by its watermark")
    assert "verified" not in told.lower()
    assert "nothing vouches for it as it is now" in told
    assert page.locator("#found h3").inner_text() == "What its watermark leads to"
    assert said(page, "song") == "Paper Lanterns, Ada"
    assert said(page, "which version").startswith("this very one")
    rates = said(page, "the method finds")
    assert "of 100 that are there" in rates
    assert (told_rates := measured()) is not None
    assert f"at least {int(told_rates.found_low * 1000) / 10:g} of 100" in rates
    assert said(page, "it finds falsely") == "at most one in a million"
    assert "What the credential said when it was issued on 20" in told
    assert said(page, "generator").startswith("test-drums")
    assert said(page, "consent").startswith("stands today")
    assert said(page, "still to be had here") == "yes"
    assert page.locator("#papers").inner_text() == "", "nothing is said of the file itself"


def test_what_it_sounds_like_is_told_without_its_version(
    page: Page, studio: Studio, tmp_path: Path
) -> None:
    sound = music(12.0, seed=5)
    load_key(studio.house.settings)
    mono = np.asarray(soxr.resample(sound.mean(axis=0), RATE, LANDMARK_RATE), dtype=np.float32)
    with studio.database.transaction() as session:
        keep_track(session, studio.granted.track_id, measure(mono), 12.0)
    index_recordings(studio.database)

    drop(page, "a part of it.mp3", converted(sound[:, RATE : 9 * RATE], tmp_path / "part.mp3"))

    told = answered(page, "Similar to something known")
    assert "It sounds like this recording" in told
    assert said(page, "song") == "Paper Lanterns, Ada"
    assert said(page, "which version").startswith("cannot be told")
    assert "verified" not in told.lower()


def test_what_could_not_be_searched_is_not_called_nothing(page: Page) -> None:
    nothing = Verdict(answer="nothing-known", verdict="absent", summary="No credential.")
    reports(page, nothing.model_copy(update={"unsearched": ["watermark: no key is here"]}))
    give(page, "any.flac", b"RIFF")
    told = answered(page, "Nothing known")
    assert "Not everything could be searched." in told
    assert "does not prove that a person made it" in told
    assert "watermark: no key is here" in page.locator("#found").inner_text()

    page.unroute(VERIFY)
    reports(page, nothing)
    give(page, "any.flac", b"RIFF")
    expect(page.locator("#answer")).to_contain_text("its sound is not known here")


def test_what_is_no_audio_is_refused_in_the_services_words(page: Page) -> None:
    give(page, "poem.mp3", b"Just words.\n" * 50)
    expect(page.locator("#alert")).to_contain_text("WAV, FLAC, MP3 or M4A", timeout=WAIT_MS)
    assert page.get_by_role("button", name="Try again").count() == 0
    assert page.locator("#answer").is_hidden()


def test_a_file_that_is_too_large_is_not_even_sent(page: Page) -> None:
    assert page.locator("#file").get_attribute("data-most-bytes") == str(MAX_VERIFY_BYTES)
    assert f"up to {MAX_VERIFY_BYTES // 10**6} MB" in page.locator("#file-hint").inner_text()
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url))
    transfer = page.evaluate_handle(
        """(bytes) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], "long.wav"));
            return transfer;
        }""",
        MAX_VERIFY_BYTES + 1,
    )
    page.dispatch_event("body", "drop", {"dataTransfer": transfer})
    expect(page.locator("#alert")).to_contain_text("This file is too large: 100.1 MB")
    assert sent == []

    # A service that takes less says so itself.
    def refuse(route: Route) -> None:
        problem = {"title": "The body is too large", "detail": "at most 5 bytes are taken here"}
        route.fulfill(status=413, json=problem)

    page.route(VERIFY, refuse)
    give(page, "short.wav", b"RIFF")
    expect(page.locator("#alert")).to_contain_text("at most 5 bytes are taken here")


def test_what_may_pass_can_be_tried_again(page: Page) -> None:
    problem = {"title": "Too many files are being verified", "detail": "try again in a moment"}
    answers: list[Callable[[Route], None]] = [
        lambda r: r.fulfill(status=503, json=problem, headers={"Retry-After": "5"}),
        lambda r: r.fulfill(status=500, json={"title": "Internal error", "detail": "It broke."}),
        lambda r: r.fulfill(status=502, body="<html>a proxy</html>", content_type="text/html"),
        lambda r: r.abort("connectionreset"),
        lambda r: r.fulfill(
            json=Verdict(answer="nothing-known", verdict="absent", summary="None.").model_dump()
        ),
    ]
    page.route(VERIFY, lambda route: answers.pop(0)(route))
    give(page, "any.flac", b"RIFF")
    alert, again = page.locator("#alert"), page.get_by_role("button", name="Try again")
    for words in ("Try again in 5 seconds.", "It broke.", "status 502", "does not answer"):
        expect(alert).to_contain_text(words, timeout=WAIT_MS)
        assert "any.flac" in page.locator("#file-name").inner_text()
        again.focus()
        page.keyboard.press("Enter")
    answered(page, "Nothing known")
    assert alert.is_hidden()
    assert page.evaluate("document.activeElement.id") == "answer-word"


def test_an_earlier_answer_never_takes_the_place_of_a_later_one(page: Page) -> None:
    held: list[Route] = []
    later = Verdict(answer="nothing-known", verdict="absent", summary="The later one.")
    earlier = Verdict(answer="verified", verdict="trusted", summary="The earlier one.")

    def answer(route: Route) -> None:
        if route.request.post_data == "first":
            held.append(route)
        else:
            route.fulfill(json=later.model_dump(mode="json"))

    page.route(VERIFY, answer)
    give(page, "first.flac", b"first")
    expect(page.locator("#phase")).to_be_visible()
    assert page.locator("[role=status] #phase").count() == 1, "it is read out"
    give(page, "second.flac", b"second")
    answered(page, "Nothing known")
    for route in held:
        route.fulfill(json=earlier.model_dump(mode="json"))
    page.wait_for_timeout(300)
    told = answered(page, "Nothing known")
    assert "The later one." in told
    assert "second.flac" in told
    assert len(held) == 1


def test_a_check_can_be_cancelled_and_no_file_is_refused_in_words(page: Page) -> None:
    page.route(VERIFY, lambda route: None)
    give(page, "first.flac", b"first")
    page.get_by_role("button", name="Cancel").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#busy")).to_be_hidden()
    assert page.evaluate("document.activeElement.id") == "file"
    assert page.locator("#alert").is_hidden()

    link = page.evaluate_handle("""() => {
        const transfer = new DataTransfer();
        transfer.setData('text/plain', 'https://example.org/song.mp3');
        return transfer;
    }""")
    page.dispatch_event("body", "drop", {"dataTransfer": link})
    expect(page.locator("#alert")).to_contain_text("That is no file.")
    assert page.url.endswith("/verify"), "what is dropped beside does not take the page away"


def test_the_page_is_reached_from_the_others_and_reads_in_order(
    open_page: Callable[..., Page], house: House
) -> None:
    for path in ("/", "/owners"):
        page = open_page(path=path)
        page.get_by_role("link", name="Verify a file").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Verify a file")
    for name, path in (("Listen and ask", "/"), ("For artists", "/owners")):
        assert page.get_by_role("link", name=name).get_attribute("href") == path
    made = Made(part="drums", style="rock", kept=["bass"], seed=1, statement="So.", code_version="")
    reports(
        page,
        Verdict(answer="verified", verdict="trusted", summary="Signed.", made=made, ours=True),
    )
    give(page, "any.flac", b"RIFF")
    answered(page, "Verified")
    order: list[Any] = page.evaluate(
        "[...document.querySelectorAll('h1, h2, h3, h4')].filter((one) => one.checkVisibility())"
        ".map((one) => Number(one.tagName[1]))"
    )
    assert order[0] == 1
    assert order.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(order)), order
    unnamed = page.evaluate(
        "[...document.querySelectorAll('button, a, input, summary')]"
        ".filter((one) => !(one.textContent.trim() || one.labels?.length)).length"
    )
    assert unnamed == 0

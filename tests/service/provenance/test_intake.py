"""A sender that falls silent does not hold its place for ever."""

import io
from functools import partial

import anyio
import pytest
from starlette.requests import Request
from starlette.types import Message

from service.errors import InvalidRequest
from service.ingestion.refusals import UploadInterrupted, UploadStalled
from service.provenance import intake

FORM = b"multipart/form-data; boundary=x"


def request(content_type: bytes, then: Message | None) -> Request:
    """A request whose body begins, and then is silent (or ends with `then`)."""
    begin = b"--x\r\n" if content_type == FORM else b"RIFF"
    messages: list[Message] = [{"type": "http.request", "body": begin, "more_body": True}]

    async def receive() -> Message:
        if messages:
            return messages.pop()
        if then is None:
            await anyio.sleep_forever()
        return then or {}

    scope = {"type": "http", "headers": [(b"content-type", content_type)]}
    return Request(scope, receive)


@pytest.mark.parametrize("content_type", [b"audio/wav", FORM])
@pytest.mark.attack("slow sender")
def test_a_sender_that_falls_silent_is_given_up(
    content_type: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "RECEIVE_SECONDS", 0.05)

    with pytest.raises(UploadStalled):
        anyio.run(partial(intake.receive, request(content_type, None), io.BytesIO()))


@pytest.mark.parametrize("content_type", [b"audio/wav", FORM])
def test_a_sender_that_went_away_is_told_apart(content_type: bytes) -> None:
    gone = request(content_type, {"type": "http.disconnect"})

    with pytest.raises(UploadInterrupted):
        anyio.run(partial(intake.receive, gone, io.BytesIO()))


@pytest.mark.parametrize("content_type", [b"audio/wav", FORM])
@pytest.mark.attack("slow sender")
def test_a_sender_that_trickles_does_not_hold_its_place(
    content_type: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sixteen senders of a byte now and then would keep everybody else out for minutes."""
    monkeypatch.setattr(intake, "SLACK_SECONDS", 0.1)
    first = [b"--x\r\n" if content_type == FORM else b"RIFF"]

    async def trickle() -> Message:
        await anyio.sleep(0.0 if first else 0.02)
        return {"type": "http.request", "body": first.pop() if first else b"-", "more_body": True}

    scope = {"type": "http", "headers": [(b"content-type", content_type)]}

    async def receive() -> None:
        with anyio.move_on_after(5):
            await intake.receive(Request(scope, trickle), io.BytesIO())

    with pytest.raises(UploadStalled):
        anyio.run(receive)


def test_a_sender_that_keeps_up_is_heard_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "SLACK_SECONDS", 0.05)
    left = [b"0" * 4096] * 10

    async def steady() -> Message:
        await anyio.sleep(0.02)
        return {"type": "http.request", "body": left.pop(), "more_body": bool(left)}

    sink = io.BytesIO()
    anyio.run(partial(intake.receive, Request({"type": "http", "headers": []}, steady), sink))

    assert len(sink.getvalue()) == 40960


@pytest.mark.parametrize("charset", [b"undefined", b"rot13", b"no-such", b'"a\0b"'])
def test_a_character_set_that_is_none_is_no_error_of_ours(charset: bytes) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="\xff"\r\n\r\n1\r\n--x--\r\n'
    content_type = FORM + b"; charset=" + charset
    whole: Message = {"type": "http.request", "body": body, "more_body": False}

    async def receive() -> Message:
        return whole

    scope = {"type": "http", "headers": [(b"content-type", content_type)]}
    with pytest.raises(InvalidRequest):
        anyio.run(partial(intake.receive, Request(scope, receive), io.BytesIO()))

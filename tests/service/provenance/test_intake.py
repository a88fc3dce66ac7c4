"""A sender that falls silent does not hold its place for ever."""

import io
from functools import partial

import anyio
import pytest
from starlette.requests import Request
from starlette.types import Message

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

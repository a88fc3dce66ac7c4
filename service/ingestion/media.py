"""Media kinds: what the first bytes of an upload say it is.

A file's name and its Content-Type are claims of the sender; the kind decides which parser meets it.
"""

from typing import Literal

MediaKind = Literal["wav", "flac", "mp3", "ogg", "m4a"]

HEAD_BYTES = 64
MEDIA_TYPES: dict[MediaKind, str] = {
    "wav": "audio/wav",
    "flac": "audio/flac",
    "mp3": "audio/mpeg",
    "ogg": "audio/ogg",
    "m4a": "audio/mp4",
}


def media_kind(head: bytes) -> MediaKind | None:
    """The kind of media whose first bytes (at least 16, if there are as many) are `head`."""
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
        return "wav"
    if head[:4] == b"fLaC":
        return "flac"
    if head[:4] == b"OggS":
        return "ogg"
    if head[4:8] == b"ftyp":
        return "m4a"
    # An ID3v2 tag is in front of MP3 nearly always; the parser decides.
    if head[:3] == b"ID3" or _is_mpeg_frame(head):
        return "mp3"
    return None


def _is_mpeg_frame(head: bytes) -> bool:
    """Whether `head` starts with a frame header of MPEG audio layer III (ISO 11172-3, 2.4.2.3)."""
    return (
        len(head) >= 4
        and head[0] == 0xFF
        and head[1] & 0xE6 == 0xE2  # sync, layer III
        and head[1] & 0x18 != 0x08  # version not reserved
        and head[2] & 0xF0 != 0xF0  # bitrate not reserved
        and head[2] & 0x0C != 0x0C  # sampling rate not reserved
    )

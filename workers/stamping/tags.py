"""Tags: what a player shows of a remix, written before the credential covers the file."""

import unicodedata

from workers.stamping.record import StampRecord

# Roles with a tag of their own in ID3, Vorbis comments and MP4; all go into `credits` as well.
_OWN_TAGS = {
    "arranger": "arranger",
    "composer": "composer",
    "lyricist": "lyricist",
    "producer": "producer",
    "publisher": "publisher",
}


def tags(record: StampRecord) -> dict[str, str]:
    """Tags by FFmpeg's generic names, which its muxers turn into each container's own.

    The original's ISRC is not written as this file's ISRC: a remix is another recording (ISO 3901).
    It stands in `original_isrc` and, for containers with fixed tags, in the comment.
    """
    track = record.track
    origin = f"Original recording: {track.title} by {track.artist}"
    if track.isrc:
        origin += f" (ISRC {track.isrc})"
    contributors = "; ".join(
        f"{credit.name} ({credit.role}{', AI' if credit.ai else ''})" for credit in record.credits
    )
    comment = " ".join(
        (
            record.statement,
            f"{origin}.",
            f"Credits: {contributors}.",
            "A preview: nothing was granted."
            if record.preview
            else f"Heard while it was made under grant {record.grant_id}; not the finished remix."
            if record.excerpt
            else f"Made under grant {record.grant_id}; `reprise verify` checks the credential.",
        )
    )
    rights = "for them to hear, not for release" if record.preview else "remixed under their grant"
    found = {
        "title": record.title,
        "artist": track.artist,
        "comment": comment,
        "copyright": f"{origin}. Rights remain with its owners; {rights}.",
        "date": f"{record.issued_at:%Y-%m-%d}",
        "credits": contributors,
        "original_title": track.title,
    }
    if track.isrc:
        found["original_isrc"] = track.isrc
    if track.iswc:
        found["iswc"] = track.iswc
    for role, tag in _OWN_TAGS.items():
        names = [c.name for c in record.credits if c.role.casefold() == role]
        if names:
            found[tag] = "; ".join(names)
    return {name: _printable(value) for name, value in found.items()}


def _printable(text: str) -> str:
    # A NUL would cut the tag short in C, a newline would forge another line in a player.
    return "".join(" " if unicodedata.category(char) == "Cc" else char for char in text)

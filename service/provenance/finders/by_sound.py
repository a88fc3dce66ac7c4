"""By sound: the recordings of the catalogue that a file is a copy or a part of."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy.orm import Session

from service.database import Database
from service.provenance.finders import CannotSearch
from service.provenance.finders.song import song_of
from service.provenance.schemas import Found
from service.recognition.hearing import hear
from service.recognition.matching import Similar, find_similar

METHOD: Final = "org.reprise.landmarks.1"
MOST_SONGS: Final = 5


@dataclass(frozen=True, slots=True)
class BySound:
    """Compares a file's landmarks with those of every track and published remix."""

    database: Database

    def find(self, path: Path) -> list[Found]:
        """The songs that the file sounds like, best first."""
        heard = hear(path)
        if heard is None:
            raise CannotSearch("sound: the audio could not be made out within the limits")
        landmarks, seconds = heard
        with self.database.snapshot() as session:
            similar = find_similar(session, landmarks, seconds)
            every = [_found(session, each) for each in similar]
        return [found for found in every if found is not None][:MOST_SONGS]


def _found(session: Session, similar: Similar) -> Found | None:
    song = song_of(session, similar.track_id)
    if song is None:
        return None
    remixes = sum(version.job_id is not None for version in similar.versions)
    itself = remixes < len(similar.versions)
    return Found(
        word="similar",
        method=METHOD,
        detail=(
            f"it sounds like {_versions(itself, remixes)}; which version it is cannot be told by "
            "its sound"
        ),
        song=song,
        # It begins before the recording where the offset is negative.
        start_seconds=max(0.0, -similar.best.offset_seconds),
    )


def _versions(itself: bool, remixes: int) -> str:
    if not remixes:
        return "this recording"
    told = "a remix" if remixes == 1 else f"{remixes} remixes"
    return f"this recording and {told} of it" if itself else f"{told} of this recording"

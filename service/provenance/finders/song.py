"""What anybody may read of a track in the catalogue."""

from sqlalchemy.orm import Session

from service.catalog.models import Track
from service.provenance.schemas import Song


def song_of(session: Session, track_id: str) -> Song | None:
    """The track as it is named in credits; None while its owners are not settled, or unknown."""
    track = session.get(Track, track_id)
    if track is None or track.state != "ready":
        return None
    return Song(track=track.id, title=track.title, artist=track.artist, isrc=track.isrc)

"""Master: the mix with its watermark, the last samples before the encoder."""

from pathlib import Path

from service.permit import Permit
from workers.attempt import Work
from workers.audio import read_audio, write_audio
from workers.mixing import limit
from workers.stamping.watermark import watermark


def master(permit: Permit, work: Work, mixed: Path) -> Path:
    """Write `mixed` with this job's mark, at -1 dBTP again, beside it; gives the new file.

    A mix is shared by all jobs that made the same, a mark is one job's: so it is laid on here and
    not where the mix is made.
    """
    permit.require("stamp", track_id=work.record.track.id)
    marked = watermark(permit, read_audio(permit, mixed), work.record.job_id, work.place.settings)
    return write_audio(permit, work.folder / "master.wav", limit(permit, marked))

"""The stems of a job's track on this machine, changed in tempo and key where the choices say so."""

from dataclasses import dataclass

from service.errors import Problem
from service.permit import Permit
from workers.attempt import Work
from workers.audio import Audio, read_audio
from workers.mixing import stretch


class StemMissing(Problem):
    """The track's stems do not hold the part that is to be replaced."""

    status = 422
    slug = "stem-missing"
    title = "The track has no such stem"


@dataclass(frozen=True, slots=True)
class SongStems:
    """Stems as the remix needs them, all of one length, 44.1 kHz stereo.

    `kept` by name, bit-exact as recorded unless tempo or key change; `replaced` is the stem that
    the new part stands in for (its loudness is the measure).
    """

    kept: dict[str, Audio]
    replaced: Audio

    @property
    def frames(self) -> int:
        """Length in samples."""
        return self.replaced.frames


def song_stems(permit: Permit, work: Work) -> SongStems:
    """Fetch the stems that `separate` kept; raises `StemMissing`."""
    record = work.record
    part, choices = record.remix.terms.part, record.remix.choices
    objects = record.made["separate"].objects
    if part not in objects:
        raise StemMissing(f"there is no {part} among {', '.join(sorted(objects))}", part=part)
    stems: dict[str, Audio] = {}
    for name in sorted(objects):
        work.watch.check()
        path = work.folder / f"{name}.wav"
        audio = read_audio(permit, work.place.objects.fetch(permit, objects[name], path))
        path.unlink()
        stems[name] = stretch(permit, audio, choices.tempo_percent, choices.key_semitones)
    replaced = stems.pop(part)
    return SongStems(kept=stems, replaced=replaced)

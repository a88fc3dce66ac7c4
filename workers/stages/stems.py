"""The stems of a job's track on this machine, changed in tempo and key where the choices say so."""

from collections.abc import Iterator
from dataclasses import dataclass

from service.errors import Problem
from service.permit import Permit
from service.templates.choices import Choices
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
    the new part stands in for: its loudness is the measure, and where a listener redoes some spans
    only, the rest of it stays.
    """

    kept: dict[str, Audio]
    replaced: Audio


def song_stems(permit: Permit, work: Work) -> SongStems:
    """All stems that `separate` kept; raises `StemMissing`."""
    stems = dict(_each(permit, work, sorted(_objects(work))))
    replaced = stems.pop(work.record.remix.terms.part)
    return SongStems(kept=stems, replaced=replaced)


def kept_names(work: Work) -> list[str]:
    """Names of the stems that stay, in order; raises `StemMissing`."""
    return sorted(set(_objects(work)) - {work.record.remix.terms.part})


def kept_stems(permit: Permit, work: Work) -> Iterator[Audio]:
    """The stems that stay, one after the other, so that a long song is never there as a whole.

    Raises `StemMissing`.
    """
    for _, audio in _each(permit, work, kept_names(work)):
        yield audio


def replaced_stem(permit: Permit, work: Work) -> Audio:
    """The stem that the new part stands in for; raises `StemMissing`."""
    ((_, audio),) = _each(permit, work, [work.record.remix.terms.part])
    return audio


def redone_spans(choices: Choices) -> list[tuple[float, float]] | None:
    """The spans to make anew in seconds of the REMIX; `None` where the whole part is new.

    A listener marks them in the song as it was recorded; another tempo moves them.
    """
    if choices.redo is None:
        return None
    faster = 1 + choices.tempo_percent / 100
    return [(span.start / faster, span.end / faster) for span in choices.redo]


def _objects(work: Work) -> dict[str, str]:
    part, objects = work.record.remix.terms.part, work.record.made["separate"].objects
    if part not in objects:
        raise StemMissing(f"there is no {part} among {', '.join(sorted(objects))}", part=part)
    return objects


def _each(permit: Permit, work: Work, names: list[str]) -> Iterator[tuple[str, Audio]]:
    objects, choices = _objects(work), work.record.remix.choices
    for name in names:
        work.watch.check()
        path = work.place.objects.fetch(permit, objects[name], work.folder / f"{name}.wav")
        audio = read_audio(permit, path)
        path.unlink()
        yield name, stretch(permit, audio, choices.tempo_percent, choices.key_semitones)

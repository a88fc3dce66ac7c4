"""Mix: the kept stems and the new part, in time, at the replaced stem's loudness."""

from service.permit import Permit
from workers.artefacts import Made, artefact_key, find
from workers.attempt import Work
from workers.audio import Audio, read_audio, write_audio
from workers.mixing import mix as mix_audio
from workers.stages.stems import redone_spans, song_stems

MEDIA_TYPE = "audio/wav"


def mix(permit: Permit, work: Work) -> Made:
    """The remix, float32 stereo at 44.1 kHz, exactly as long as the (stretched) original."""
    permit.require("mix", track_id=work.record.track.id)
    record, place = work.record, work.place
    part_made = record.made["regenerate"]
    key = artefact_key("mix", part=part_made.key, stems=record.made["separate"].objects)
    kept = find(place.database, place.objects, key)
    if kept is not None:
        return kept
    stems = song_stems(permit, work)
    work.watch.progress(0.3)
    part = _part(permit, work, part_made)
    work.watch.check()
    redone = redone_spans(record.remix.choices)
    remix = mix_audio(permit, stems.kept, part, stems.replaced, redone)
    work.watch.progress(0.8)
    path = write_audio(permit, work.folder / "remix.wav", remix)
    digest = place.objects.put(permit, path)
    meta = {"seconds": remix.duration, "kept": sorted(stems.kept)}
    return Made(key, "mix", digest, MEDIA_TYPE, meta)


def _part(permit: Permit, work: Work, made: Made) -> Audio:
    path = work.place.objects.fetch(permit, made.main_object, work.folder / "part.wav")
    return read_audio(permit, path)

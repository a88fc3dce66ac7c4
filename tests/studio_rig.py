"""A studio: remixes of tracks with real audio, made stage by stage, and what each stage kept."""

from typing import Any

import soundfile
from scipy.io import wavfile

from service.catalog.models import Stem
from service.consent import gate
from service.jobs.models import Artefact, Job
from tests.hand_rig import HandRig
from tests.remix_rig import song
from tests.stories import Granted

SECONDS = 6.0
NAMES = ("drums", "bass", "other", "vocals")


class Studio(HandRig):
    """Jobs made by hand, and what they left behind."""

    def stage_object(self, job: Job, granted: Granted, stage: str, name: str | None = None) -> Any:
        """Samples [T, channels] of what a stage kept."""
        with self.database.snapshot() as session:
            artefact = session.get_one(Artefact, job.artefacts[stage])
            digest = artefact.meta["objects"][name] if name else artefact.object_sha256
            assert digest is not None
            permit = gate.permit_upload(session, granted.owners[0].principal, granted.track_id)
        path = self.objects.fetch(permit, digest, self.folder / "object.wav")
        return soundfile.read(path, dtype="float32", always_2d=True)[0]

    def cached(self, job: Job) -> set[str]:
        """Stages that found their artefact."""
        return {e.data["stage"] for e in self.house.events(job.id) if e.data.get("cached")}

    def with_stems(self, seconds: float = SECONDS, **terms: Any) -> Granted:
        """A track whose artist sent the stems."""
        granted = self.granted(seconds, **terms)
        owner = granted.owners[0].principal
        for number, name in enumerate(NAMES):
            path = self.folder / f"{name}.wav"
            wavfile.write(path, 44_100, (song(seconds) * (0.1 + 0.1 * number)).T)
            with self.database.snapshot() as session:
                permit = gate.permit_upload(session, owner, granted.track_id)
            digest = self.objects.put(permit, path)
            with self.database.transaction() as session:
                session.add(
                    Stem(
                        track_id=granted.track_id,
                        name=name,
                        object_sha256=digest,
                        source="uploaded",
                    )
                )
        return granted

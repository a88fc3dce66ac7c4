"""Excerpts: the listener hears the beginning of a remix while the rest of its part is made.

Each passes the gate again, is mixed with the kept stems, marked, signed and checked by the policy
like a remix, and says that it is an excerpt. It is a courtesy: what goes wrong with one ends the
excerpts, not the job.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import structlog
from torch import Tensor

from service.consent import gate
from service.database import now
from service.excerpts import keeping as excerpts
from service.ingestion.retention import release_objects
from service.permit import Permit
from workers.attempt import Work
from workers.audio import Audio, write_audio
from workers.mixing import limit
from workers.stages.excerpt_mix import ExcerptMix
from workers.stages.stamp import stamp_record
from workers.stages.stems import redone_spans, replaced_stem
from workers.stamping.record import AudioFormat, Excerpt, StampRecord
from workers.stamping.sources import plain_sha256
from workers.stamping.stamp import Stamped
from workers.stamping.stamp import stamp as stamp_file
from workers.stamping.watermark import watermark

log = structlog.get_logger(__name__)

FORMAT: AudioFormat = "flac"
"""Sample for sample what was signed, and every browser decodes it: pieces join without a gap."""


class Excerpts:
    """Listens to a part that is being made, in the thread of its generation.

    Args:
        permit: of stage ``regenerate``.
        work: of the same stage.
        bed: the sum of the stems that stay, from the song's beginning on.
        kept: their names.
        samples: of the whole part, at ``part_rate`` Hz.
        parameters: of the generation, as the credential states them.
    """

    def __init__(
        self,
        permit: Permit,
        work: Work,
        *,
        bed: Audio,
        kept: tuple[str, ...],
        samples: int,
        part_rate: int,
        parameters: Mapping[str, Any],
    ) -> None:
        self._work, self._kept, self._samples = work, kept, samples
        self._parameters = parameters
        self._rate = bed.sample_rate
        self._limit = round(work.place.settings.excerpt_seconds * self._rate)
        self._mix = ExcerptMix(
            permit,
            bed,
            lambda: replaced_stem(permit, work),
            part_rate,
            redone_spans(work.record.remix.choices),
        )
        self._told, self._number = 0, 0
        self._source: tuple[Path, StampRecord] | None = None
        with work.place.database.snapshot() as session:
            self._there = excerpts.kept(session, work.record.job_id)

    def __call__(self, first: int, audio: Tensor) -> bool:
        """Hear the part's next samples, float32 [1, T]; answers whether more is wanted."""
        last = first + audio.shape[1] >= self._samples
        try:
            known = self._mix.hear(np.ascontiguousarray(audio.numpy()), last=last)
            self._tell(min(known, self._limit))
        # A stop, a revocation and a lost lease are among these: the stage's own watch sees to them.
        except Exception as error:  # noqa: BLE001
            said = f"{type(error).__name__}: {error}"
            log.warning("excerpts_end", job_id=self._work.record.job_id, error=said)
            return False
        return not last and self._told < self._limit

    def _tell(self, end: int) -> None:
        start = self._told
        if end <= start:
            return
        self._number += 1
        # An earlier attempt at the stage may have told it already: the same seed, the same sound.
        if self._number not in self._there:
            self._work.watch.check()
            stamping = self._permit("stamp")
            self._keep(stamping, self._stamped(stamping, start, end), start, end)
        self._told = end

    def _stamped(self, stamping: Permit, start: int, end: int) -> Stamped:
        work, folder = self._work, self._work.folder / f"excerpt-{self._number}"
        folder.mkdir()
        path = self._master(self._permit("mix"), stamping, folder / "master.wav", start, end)
        original, record = self._source = self._source or self._from(stamping)
        seconds = Excerpt(self._number, start / self._rate, end / self._rate)
        return stamp_file(
            stamping,
            path,
            replace(record, excerpt=seconds, issued_at=now()),
            folder,
            original=original,
            audio_format=FORMAT,
            settings=work.place.settings,
        )

    def _master(self, mixing: Permit, stamping: Permit, path: Path, start: int, end: int) -> Path:
        """Samples ``start`` to ``end`` of the remix, limited and marked as `master` does it."""
        mixed, at = self._mix.window(mixing, start)
        place = self._work.place
        marked = watermark(stamping, limit(mixing, mixed), self._work.record.job_id, place.settings)
        heard = limit(stamping, marked).samples[:, at : at + end - start]
        return write_audio(stamping, path, Audio(np.ascontiguousarray(heard), self._rate))

    def _from(self, permit: Permit) -> tuple[Path, StampRecord]:
        """The original, and what is stated of every excerpt."""
        work = self._work
        original = work.place.objects.fetch(
            permit, work.record.track.audio_sha256 or "", work.folder / "original.wav"
        )
        record = stamp_record(
            permit, work, plain_sha256(original), kept=self._kept, parameters=self._parameters
        )
        return original, record

    def _keep(self, stamping: Permit, stamped: Stamped, start: int, end: int) -> None:
        place = self._work.place
        digest = place.objects.put(stamping, stamped.path)
        try:
            with place.database.transaction() as session:
                # Nothing is told of what a revocation has just ended.
                gate.check_live(session, stamping)
                excerpts.keep(
                    session,
                    self._work.lease,
                    self._number,
                    start_seconds=start / self._rate,
                    seconds=(end - start) / self._rate,
                    object_sha256=digest,
                    media_type=stamped.media_type,
                )
        except Exception:
            with place.database.transaction() as session:
                release_objects(session, place.objects, [digest])
            raise

    def _permit(self, stage: str) -> Permit:
        """A fresh Permit: the gate is asked for every excerpt."""
        work = self._work
        with work.place.database.snapshot() as session:
            return gate.permit(
                session,
                work.place.keys,
                work.record.token,
                stage,
                choices=work.record.stored_choices,
            )

"""An atelier: artists with catalogues of stems, small real models, and one worker's workplace."""

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import wavfile

from checkpoints.card import Card
from service.catalog.models import Stem
from service.consent import gate
from service.consent.models import Adapter
from service.jobs.models import ACTIVE, Job
from tests.hand_rig import HandRig
from tests.remix_rig import song
from tests.stories import Granted, Owner
from tests.training_story import TrainingStory
from workers.adapters.learning import Recipe
from workers.adapters.training import train_adapter
from workers.pipeline import perform

SECONDS = 6.0
NAMES = ("drums", "bass", "other", "vocals")
RECIPE = Recipe(steps=3, batch=2, rank=2, alpha=4)
_NUMBERS = itertools.count(1)


class Atelier(HandRig):
    """The rig by hand, where the test itself trains too."""

    def __init__(self, folder: Path, cards: Path) -> None:
        super().__init__(folder, cards)
        self.cards = cards
        self.training = TrainingStory(self.story)

    def track(self, *owners: Owner, seconds: float = SECONDS, **stems: np.ndarray | None) -> str:
        """A track with its mix and four stems; `drums=array` gives another one, None leaves it."""
        given: dict[str, np.ndarray | None] = {
            name: song(seconds) * (0.1 + 0.1 * number) for number, name in enumerate(NAMES)
        }
        given |= stems
        track_id = self.story.track(*owners, seconds=seconds)
        self.story.set_track(track_id, audio_sha256=self._keep(owners[0], track_id, song(seconds)))
        for name, samples in given.items():
            if samples is not None:
                self._stem(owners[0], track_id, name, samples)
        return track_id

    def grant(self, *owners: Owner, tracks: list[str] | None = None, **wish: Any) -> str:
        """An open training grant on `tiny-drums`, named `own-N` unless `adapter` says otherwise."""
        tracks = tracks or [self.track(*owners)]
        wish = {"adapter": f"own-{next(_NUMBERS)}", "base": "tiny-drums", **wish}
        return self.training.granted(*owners, tracks=tracks, **wish)

    def name(self, grant_id: str) -> str:
        """The adapter that a grant names."""
        return self.training.permit(grant_id).allowed.adapter

    def trained(self, grant_id: str, **settings: Any) -> Card:
        """The adapter that a grant allows, trained for a few steps."""
        card = train_adapter(self.place, self.name(grant_id), RECIPE, **settings)
        assert card is not None
        return card

    def template(self, card: Card, *owners: Owner, seconds: float = SECONDS) -> Granted:
        """A fresh track whose owners let listeners have drums by the adapter."""
        return self.remixable(self.track(*owners, seconds=seconds), card, *owners)

    def remixable(self, track_id: str, card: Card, *owners: Owner) -> Granted:
        """An open remix grant of a track whose template names the adapter alone."""
        template_id = self.story.template(
            owners[0], track_id, styles=list(card.styles), checkpoints=[card.name]
        )
        grant_id, payload = self.story.grant(owners[0], template_id)
        for owner in owners:
            self.story.sign(owner, grant_id, payload)
        return Granted(owners, track_id, template_id, 1, grant_id)

    def remix(self, granted: Granted, card: Card, until: str | None = None) -> Job:
        """A remix in the adapter's style, to its end or to the beginning of stage `until`."""
        job_id = self.house.ask(granted, style=card.styles[0], seed=1)
        while (job := self.house.job(job_id)).state in ACTIVE and job.stage != until:
            perform(self.place, job_id, job.stage)
        return job

    def adapter(self, name: str) -> Adapter:
        """The adapter's row."""
        with self.database.snapshot() as session:
            row = session.get_one(Adapter, name)
            session.expunge_all()
            return row

    def recorded(self, owner: Owner, stems: Mapping[str, np.ndarray]) -> str:
        """A track of these stems, float32 [2, samples] each, and of their sum."""
        mix = np.sum(list(stems.values()), axis=0)
        seconds = mix.shape[1] / 44_100
        track_id = self.story.track(owner, seconds=seconds)
        self.story.set_track(track_id, audio_sha256=self._keep(owner, track_id, mix))
        for name, samples in stems.items():
            self._stem(owner, track_id, name, samples)
        return track_id

    def _stem(self, owner: Owner, track_id: str, name: str, samples: np.ndarray) -> None:
        digest = self._keep(owner, track_id, samples)
        with self.database.transaction() as session:
            session.add(Stem(track_id=track_id, name=name, object_sha256=digest, source="uploaded"))

    def _keep(self, owner: Owner, track_id: str, samples: np.ndarray) -> str:
        path = self.folder / "stem.wav"
        wavfile.write(path, 44_100, samples.astype(np.float32).T)
        with self.database.snapshot() as session:
            permit = gate.permit_upload(session, owner.principal, track_id)
        return self.objects.put(permit, path)

"""An adapter's files and its card, written where operators keep theirs."""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from checkpoints.card import Card, read_card
from service.consent.gate import TrainingAdmission
from service.errors import Problem
from workers.regeneration.adapter import WEIGHTS

LICENCE = "LicenseRef-Reprise-Training-Grant"


class CardsFolderMissing(Problem):
    """There is no folder for an operator's cards."""

    status = 409
    slug = "cards-folder-missing"
    title = "There is no folder for cards"


@dataclass(frozen=True, slots=True)
class Learned:
    """What is said of a training: clips and their length, tracks, and held-out figures in nats."""

    tracks: int
    minutes: float
    steps: int
    seed: int
    seconds: float
    held_out: Mapping[str, float] | None


def cards_folder() -> Path:
    """The folder that `REPRISE_CARDS` names; raises `CardsFolderMissing`."""
    named = os.environ.get("REPRISE_CARDS")
    if not named:
        raise CardsFolderMissing(
            "adapters are kept with an operator's own cards: set REPRISE_CARDS to a folder that "
            "the API and the workers share"
        )
    folder = Path(named)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_weights(folder: Path, state: Mapping[str, Tensor], configs: Mapping[str, Any]) -> None:
    """Write an adapter's tensors, and its configs by file name, into a folder: whole or not at all.

    A folder that was there is replaced.
    """
    draft = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    save_file(dict(state), draft / WEIGHTS, {"format": "pt"})
    (draft / WEIGHTS).chmod(0o644)
    for name, config in configs.items():
        text = json.dumps(config, indent=2, sort_keys=True)
        (draft / name).write_text(text + "\n", encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    draft.rename(folder)


def card_text(
    name: str,
    base: Card,
    admissions: list[TrainingAdmission],
    learned: Learned,
    folder: Path,
) -> str:
    """The card of the files in ``folder``. It names grants, never the people who signed them."""
    allowed = admissions[0].allowed
    commercial = base.commercial_use and all(a.allowed.commercial for a in admissions)
    grants = ", ".join(f"{a.grant_id} (sha256 {a.sha256})" for a in admissions)
    held = ""
    if learned.held_out is not None:
        before, after = learned.held_out["before"], learned.held_out["after"]
        held = (
            f" On {_count(int(learned.held_out['tracks']))} of the catalogue held out, the "
            f"cross-entropy went from {before:.3f} to {after:.3f} nats."
        )
    fields: dict[str, Any] = {
        "name": name,
        "role": "adapter",
        "title": f"{name}: {allowed.part} in an artist's own style, on {base.name}",
        "licence": LICENCE,
        "commercial_use": commercial,
        "bundled": True,
        "base": base.name,
        "base_digest": base.digest,
        "parts": [allowed.part],
        "styles": [allowed.style],
        "controls": list(base.controls),
        "requires": [base.name, *base.requires],
        "training_data": (
            f"{_count(learned.tracks)}, {learned.minutes:.1f} minutes, of the catalogue that its "
            f"owners granted for this one adapter: {grants}. Nothing else. Its base was trained on "
            "what its own card says."
        ),
        "intended_use": (
            f"Writing {allowed.part} in the artist's own style {allowed.style!r}, for tracks that "
            "a signer of the grants has a share of, as long as all of the grants stand."
        ),
        "limits": (
            f"As its base. Trained for {learned.steps} steps from seed {learned.seed} in "
            f"{learned.seconds / 60:.1f} minutes.{held} It knows one style and no other."
        ),
    }
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in fields.items()]
    for admission in admissions:
        lines += [
            "",
            "[[grants]]",
            f'id = "{admission.grant_id}"',
            f'sha256 = "{admission.sha256}"',
        ]
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        lines += [
            "",
            f'[files."{path.name}"]',
            f'sha256 = "{hashlib.sha256(content).hexdigest()}"',
            f"bytes = {len(content)}",
        ]
    return "\n".join(lines) + "\n"


def _count(tracks: int) -> str:
    return "1 track" if tracks == 1 else f"{tracks} tracks"


def publish_card(cards: Path, draft: Path) -> Card:
    """Put a drafted card into the operator's folder, whole or not at all; gives it as read back."""
    partial = cards / f"{draft.stem}.partial"
    shutil.copyfile(draft, partial)
    path = cards / draft.name
    partial.replace(path)
    return read_card(path)

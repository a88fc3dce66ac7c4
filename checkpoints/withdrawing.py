"""Withdrawing: weights whose consent has ended are deleted, and their card says why."""

import json
import shutil

from checkpoints import registry
from checkpoints.card import Card, read_card
from checkpoints.errors import CardInvalid


def withdraw(card: Card, reason: str) -> Card:
    """Delete an adapter's files and write the reason into its card, which is refused from then on.

    :returns: the card as it stands now.
    :raises CardInvalid: the checkpoint came with the installation.
    """
    if card.role != "adapter":
        raise CardInvalid(f"{card.name} is a {card.role}; only adapters are withdrawn")
    if card.withdrawn is None:
        # The card first: whatever happens to the files, nobody opens them any more.
        text = card.path.read_text(encoding="utf-8")
        draft = card.path.with_suffix(".partial")
        draft.write_text(
            f"withdrawn = {json.dumps(reason, ensure_ascii=False)}\n{text}", encoding="utf-8"
        )
        draft.replace(card.path)
    shutil.rmtree(registry.folder(card), ignore_errors=True)
    return read_card(card.path)

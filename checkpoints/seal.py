"""Seal: write the hashes of freshly exported weights into their card.

`python -m checkpoints.seal NAME…` after an export; a generator's styles and controls are taken
from its own `config.json`, so that the card cannot promise others.
"""

import hashlib
import json
import re
import sys
from pathlib import Path

from checkpoints import registry
from checkpoints.card import Card, read_card
from checkpoints.errors import CardInvalid, CheckpointError, CheckpointNotPulled

_FILES = re.compile(r"^\[files\.", re.MULTILINE)
_STYLES = re.compile(r"^styles = \[.*?\]\n", re.MULTILINE | re.DOTALL)
_CONTROLS = re.compile(r"^controls = \[.*?\]\n", re.MULTILINE | re.DOTALL)


def seal(name: str) -> Card:
    """Write SHA-256 and size of every file of a bundled card into it; returns the sealed card.

    :raises UnknownCheckpoint: no card has this name.
    :raises CheckpointNotPulled: a file has not been exported yet.
    :raises CheckpointPickleRefused: a file is a pickle.
    :raises CardInvalid: the card is not of a bundled checkpoint.
    """
    card = registry.card(name)
    if not card.bundled:
        raise CardInvalid(f"{card.name} is not bundled; its publisher's hashes are written by hand")
    if card.role == "adapter":
        raise CardInvalid(f"{card.name} is an adapter; its training seals it, and nothing else")
    registry.require_loadable(card)
    folder = registry.folder(card)
    tables = []
    for file_name in card.files:
        path = folder / file_name
        if not path.is_file():
            raise CheckpointNotPulled(f"{card.name}: {path} has not been exported yet")
        content = path.read_bytes()
        tables.append(
            f'[files."{file_name}"]\nsha256 = "{hashlib.sha256(content).hexdigest()}"\n'
            f"bytes = {len(content)}\n"
        )
    text = card.path.read_text(encoding="utf-8")
    first = _FILES.search(text)
    body = text[: first.start()] if first else text + "\n"
    body = _with_abilities(body, folder)
    _write(card.path, body + "\n".join(tables))
    sealed = read_card(card.path)
    registry.open(sealed.name, commercial=False)
    return sealed


def _with_abilities(body: str, folder: Path) -> str:
    config_file = folder / "config.json"
    if not _STYLES.search(body) or not config_file.is_file():
        return body
    config = json.loads(config_file.read_text(encoding="utf-8"))
    styles, controls = config.get("styles"), config.get("controls")
    if styles is None:
        return body
    lines = f"styles = {json.dumps(styles, ensure_ascii=False)}\n"
    if controls:
        lines += f"controls = {json.dumps(controls, ensure_ascii=False)}\n"
    return _STYLES.sub(lambda _: lines, _CONTROLS.sub("", body))


def _write(path: Path, text: str) -> None:
    temporary = path.with_suffix(".part")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def main(names: list[str]) -> int:
    """Seal the named cards; without names, every bundled card whose files are there."""
    bundled = [card for card in registry.cards() if card.bundled]
    chosen = names or [
        card.name
        for card in bundled
        if registry.state(card) == "bundled" and card.role != "adapter"
    ]
    try:
        for name in chosen:
            sealed = seal(name)
            sys.stdout.write(f"{sealed.name}  {sealed.digest}  {sealed.bytes} bytes\n")
    except CheckpointError as error:
        sys.stderr.write(f"{error.title}: {error.detail}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

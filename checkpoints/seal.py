"""Seal: write the hashes of freshly exported weights into their card.

`python -m checkpoints.seal NAME…` after an export; a generator's styles and controls are taken
from its own `config.json`, so that the card cannot promise others. `--quality FILE` writes what
`reprise bench quality --json FILE` measured of these weights too. Figures of other weights never
stay in a card: they go when its hashes change.
"""

import argparse
import hashlib
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from checkpoints import registry
from checkpoints.card import Card, read_card
from checkpoints.errors import CardInvalid, CheckpointError, CheckpointNotPulled
from checkpoints.measured import tables_of

_TABLES = re.compile(r"^\[", re.MULTILINE)
_FILES = re.compile(r"^\[files\.", re.MULTILINE)
_STYLES = re.compile(r"^styles = \[.*?\]\n", re.MULTILINE | re.DOTALL)
_CONTROLS = re.compile(r"^controls = \[.*?\]\n", re.MULTILINE | re.DOTALL)


def seal(name: str, quality: Mapping[str, Any] | None = None) -> Card:
    """Write SHA-256 and size of every file of a bundled card into it; returns the sealed card.

    `quality` is what `reprise bench quality --json` wrote of these very weights.

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
    first, files = _TABLES.search(text), _FILES.search(text)
    body = text[: first.start()] if first else text + "\n"
    body = _with_abilities(body, folder)
    sealing = "\n".join(tables)
    if quality is not None:
        measured = tables_of(quality, card.role, card.parts)
    elif first and files and text[files.start() :] == sealing:
        measured = text[first.start() : files.start()].rstrip("\n") + "\n"
    else:
        measured = ""
    _write(card.path, body + (measured + "\n" if measured.strip() else "") + sealing)
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


def main(argv: list[str]) -> int:
    """Seal the named cards; without names, every bundled card whose files are there."""
    parser = argparse.ArgumentParser(prog="checkpoints.seal", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--quality", type=Path, help="figures of these weights")
    options = parser.parse_args(argv)
    bundled = [card for card in registry.cards() if card.bundled]
    chosen = options.names or [
        card.name
        for card in bundled
        if registry.state(card) == "bundled" and card.role != "adapter"
    ]
    try:
        quality = json.loads(options.quality.read_text()) if options.quality else None
        for name in chosen:
            sealed = seal(name, quality)
            sys.stdout.write(f"{sealed.name}  {sealed.digest}  {sealed.bytes} bytes\n")
    except CheckpointError as error:
        sys.stderr.write(f"{error.title}: {error.detail}\n")
        return 1
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{options.quality}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

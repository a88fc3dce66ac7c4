"""Every dependency that is installed allows commercial use, and says so."""

import importlib.metadata
import re
from pathlib import Path

ALLOWED = re.compile(
    r"\b(MIT|BSD|Apache|PSF|Python Software Foundation|ISC|ISCL|MPL|Mozilla|Zlib|Unlicense|HPND"
    r"|0BSD|LGPL|Lesser General Public|CC0|Public Domain)\b|BSD-?[0-9]",
    re.IGNORECASE,
)
FORBIDDEN = re.compile(r"(?<!L)(?<!Lesser )\bA?GPL|Non-?Commercial|-NC-|Proprietary", re.IGNORECASE)
# Metadata that names no licence; each was read in the distribution's own LICENSE file.
READ_BY_HAND = {"sphn": "Apache-2.0"}


def test_every_pinned_dependency_allows_commercial_use() -> None:
    pins = [
        line.split("==")[0]
        for line in Path("constraints.txt").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    refused = {}
    seen = 0
    for name in pins:
        try:
            metadata = importlib.metadata.metadata(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # pinned for another extra than the one installed
        seen += 1
        stated = " ".join(
            [
                metadata.get("License-Expression") or "",
                # Some distributions put the whole text here; its title is enough.
                (metadata.get("License") or "")[:200],
                *(c for c in metadata.get_all("Classifier") or [] if c.startswith("License")),
                READ_BY_HAND.get(name.lower(), ""),
            ]
        )
        if not ALLOWED.search(stated) or FORBIDDEN.search(stated):
            refused[name] = stated.strip() or "nothing stated"
    assert seen > 60
    assert refused == {}

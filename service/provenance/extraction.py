"""Reading one file's manifest store with the C2PA SDK.

Untrusted files are read through `python -m service.provenance.extraction FILE SETTINGS` in the
sandbox (see `service.provenance.reading`); a file that this process has just signed is read here.
"""

import json
import sys
from pathlib import Path
from typing import Any, Literal

import c2pa

from service.provenance.manifest_store import ManifestStore

Outcome = Literal["read", "absent", "damaged", "unreadable", "unsupported"]

# How the SDK (0.91) says that the container, not the credential in it, is at fault.
_CONTAINER_FAULT = "asset could not be parsed"


def extract(path: Path, sdk_settings: str) -> dict[str, Any]:
    """What the SDK finds in `path`, as JSON-ready data.

    `outcome` is `read` (then `store` is the reader's document), `absent` (no credential),
    `damaged` (there is one, broken beyond reading), `unreadable` (the container is broken) or
    `unsupported`; `detail` is the SDK's own words for the last three.

    :param sdk_settings: JSON text of `Trust.sdk_settings`.
    """
    try:
        with (
            path.open("rb") as source,
            c2pa.Context.from_json(sdk_settings) as context,
            # No format: the SDK looks at the bytes, never at a name that may lie.
            c2pa.Reader(None, source, context=context) as reader,
        ):
            return {"outcome": "read", "store": json.loads(reader.json())}
    except c2pa.C2paError.ManifestNotFound:
        return {"outcome": "absent"}
    except c2pa.C2paError.NotSupported as error:
        return {"outcome": "unsupported", "detail": str(error)}
    except c2pa.C2paError as error:
        detail = str(error)
        outcome: Outcome = "unreadable" if _CONTAINER_FAULT in detail else "damaged"
        return {"outcome": outcome, "detail": detail}


def read_signed(path: Path, sdk_settings: str) -> ManifestStore:
    """The manifest store of a file that this process has just signed.

    :raises ValueError: it has none that can be read.
    """
    answer = extract(path, sdk_settings)
    if answer["outcome"] != "read":
        raise ValueError(f"{answer['outcome']}: {answer.get('detail', 'no credential')}")
    return ManifestStore(answer["store"])


if __name__ == "__main__":
    json.dump(extract(Path(sys.argv[1]), Path(sys.argv[2]).read_text("utf-8")), sys.stdout)

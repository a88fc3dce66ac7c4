"""A page to listen to the bundled models, with pictures, and their faults by figures.

    reprise bench listen                  render the held-out pieces, then write ./listen/index.html
    reprise bench listen --corpus DIR     pieces of the test split of a corpus that is there

Each piece is heard three times: as it is, with its drums or its bass separated and regenerated in
its own style, and the same in another style. A figure is marked where a new part is clearly worse
than the piece's own.
"""

import argparse
import json
import os
import shutil
import sys
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from workers.benchmarks.held_out import Rendered, listed
from workers.benchmarks.page import FIGURES, page
from workers.benchmarks.rendering import render_held_out
from workers.benchmarks.store import place_of, run_all
from workers.benchmarks.triples import Triple
from workers.benchmarks.weights import PARTS, Weights, open_engine
from workers.regeneration.request import GenerationRequest
from workers.training.data.soundfont import RendererMissing

_SILENT_SHARE = 0.5


def _sounds(piece: Rendered, part: str) -> bool:
    """Whether a part plays in at least half of the piece's sections."""
    sections = piece.piece.meta["sections"]
    bars = sum(section["bars"] for section in sections if part in section["parts"])
    return bars >= _SILENT_SHARE * sum(section["bars"] for section in sections)


def _metre(piece: Rendered) -> str:
    return str(piece.piece.meta.get("meter", "4/4"))


def triples_of(
    pieces: Sequence[Rendered], count: int, weights: Weights, seed: int, candidates: int,
    seconds: float,
) -> list[Triple]:  # fmt: skip
    """Drums and bass in turn, each in the piece's own style and in another of its metre."""
    together: dict[str, set[str]] = {}
    for piece in pieces:
        together.setdefault(_metre(piece), set()).add(piece.piece.meta["style"])
    chosen: list[Triple] = []
    for piece in pieces:
        if len(chosen) == count:
            break
        part = PARTS[len(chosen) % len(PARTS)]
        known = open_engine(weights, part).generator.config.styles
        own = piece.piece.meta["style"]
        if own not in known or not _sounds(piece, part):
            continue
        others = sorted(together[_metre(piece)].intersection(known) - {own})
        others = others or [style for style in known if style != own]
        rng = np.random.default_rng((seed, zlib.crc32(piece.name.encode())))
        styles = own, others[int(rng.integers(len(others)))]
        chosen.append(Triple(piece, part, styles, weights, seed, candidates, seconds))
    return chosen


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    home = Path(os.environ.get("REPRISE_HOME", Path.home() / ".reprise"))
    parser = argparse.ArgumentParser(
        prog="reprise bench listen",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=Path("listen"), help="folder of the page")
    parser.add_argument("--corpus", type=Path, help="a corpus whose test split is used")
    parser.add_argument("--folder", type=Path, help="read weights from here, not from the cards")
    parser.add_argument("--kept", type=Path, default=home / "benchmarks",
                        help="where renders and results are kept")  # fmt: skip
    parser.add_argument("--pieces", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=30.0, help="of each piece, from its start")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--candidates", type=int, default=GenerationRequest.candidates)
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="processes")
    options = parser.parse_args(argv)
    if options.pieces < 1 or options.jobs < 1 or not 5.0 <= options.seconds <= 30.0:
        parser.error("--pieces and --jobs are at least 1, --seconds 5 to 30")
    if options.corpus is not None and not options.corpus.is_dir():
        parser.error(f"--corpus: there is no folder {options.corpus}")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page; the same sounds under the same seed and weights on one device."""
    options = _options(argv)
    weights, results = Weights(options.folder), options.kept / "results"
    corpus: Path = options.corpus
    try:
        if corpus is None:
            # Some have no drums or no bass, or a style that is not offered.
            splits = {"test": 2 * options.pieces}
            corpus = render_held_out(options.kept / "held-out", splits, options.jobs)
    except (RendererMissing, ValueError) as error:
        print(f"reprise bench listen: {error}", file=sys.stderr)
        return 1
    triples = triples_of(
        listed(corpus, "test"), options.pieces, weights, options.seed, options.candidates,
        options.seconds,
    )  # fmt: skip
    if not triples:
        print("reprise bench listen: no held-out piece fits these weights", file=sys.stderr)
        return 1
    told = run_all(triples, results, options.jobs, "triples")
    folders = [f"{number:02d}-{triple.part}" for number, triple in enumerate(triples, start=1)]
    for folder, triple in zip(folders, triples, strict=True):
        shutil.rmtree(options.out / folder, ignore_errors=True)
        shutil.copytree(place_of(triple, results).with_suffix(""), options.out / folder)
    used = f"Seed {options.seed}, best of {options.candidates} candidates."
    (options.out / "index.html").write_text(page(told, folders, used), encoding="utf-8")
    (options.out / "figures.json").write_text(json.dumps(told, indent=2) + "\n")
    counted = Counter(
        flaw for triple in told for version in triple["versions"].values()
        for flaw in version["flaws"]
    )  # fmt: skip
    print(f"{options.out / 'index.html'}: {len(told)} triples")
    for name, (title, _) in FIGURES.items():
        print(f"  {title:36} worse than the original's in {counted[name]} of {2 * len(told)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

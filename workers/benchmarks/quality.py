"""Quality of the bundled models beside their controls, every figure measured on audio.

    reprise bench quality                       render the held-out pieces, then measure
    reprise bench quality --corpus DIR          the test splits of a corpus that is there
    reprise bench quality --folder DIR          weights that are not sealed yet, DIR/<checkpoint>/
    reprise bench quality --multitracks DIR     songs that nobody trained on as well:
                                                DIR/<song>/{drums,bass,other[,vocals]}.wav

Ten seconds of each piece: a part is generated from the stems that stay, as a remix does it, and
judged by the true stems. Columns: "control" is the same audio judged against another piece, which
is what a part that ignores its context gets; "codec" the real part through the codec; "real" the
part itself. In brackets the 95 % bootstrap interval over pieces. What is measured is kept: a run
that was interrupted goes on where it stopped.
"""

import argparse
import json
import os
import sys
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workers.benchmarks.excerpts import Song
from workers.benchmarks.hearing import Heard, labels_from_json
from workers.benchmarks.held_out import Rendered, listed
from workers.benchmarks.jobs import Generation, Partial, Reference, Separation
from workers.benchmarks.multitracks import BadMultitrack, open_multitrack
from workers.benchmarks.rendering import STYLE_PIECES, Styles, learn_styles, render_held_out
from workers.benchmarks.resources import memory_row, size_row, speed_row
from workers.benchmarks.rows import (
    Excerpt,
    Heards,
    Known,
    Row,
    Scores,
    codec_rows,
    control_row,
    density_row,
    font_row,
    measured,
    partial_rows,
    separated_row,
    separation_rows,
    style_row,
)
from workers.benchmarks.store import place_of, run_all
from workers.benchmarks.table import report, text
from workers.benchmarks.weights import PARTS, Weights, open_engine
from workers.regeneration.request import GenerationRequest
from workers.training.data.soundfont import RendererMissing

GROUPS = ("drums", "bass", "separation", "resources")
FONT_PIECES = 24
WITHOUT_BAR = 24
"""Pieces for rows that no bar is held against: what is told shows on fewer."""


@dataclass(frozen=True)
class Plan:
    """How much is measured, with what, and where results are kept."""

    weights: Weights
    seed: int
    seeds: int
    candidates: int
    results: Path
    jobs: int


def _seed_of(plan: Plan, song: Song) -> int:
    """Each song its own, whichever others there are."""
    return plan.seed * 1_000_003 + zlib.crc32(song.name.encode())


class Bench:
    """Everything that is heard of the first songs that sound and one part's models."""

    def __init__(self, plan: Plan, songs: Sequence[Song], part: str, most: int) -> None:
        self.plan, self.part = plan, part
        found = run_all(
            [Reference(song, part, plan.weights) for song in songs],
            plan.results, plan.jobs, f"{part}: the songs' own",
        )  # fmt: skip
        self.songs: list[Song] = []
        self.truth: dict[Excerpt, Known] = {}
        for song, reference in zip(songs, found, strict=True):
            if not reference["excerpts"] or len(self.songs) == most:
                continue
            self.songs.append(song)
            for excerpt in reference["excerpts"]:
                self.truth[(song.name, excerpt["start"])] = Known(
                    labels_from_json(excerpt["labels"]),
                    np.asarray(excerpt["context"]),
                    Heard.from_json(excerpt["real"]),
                    Heard.from_json(excerpt["codec"]),
                    excerpt["log_mel"],
                    excerpt.get("log_mel_of_magnitudes"),
                )
        if not self.songs:
            raise ValueError(f"{part}: no song has a part and a context that sound together")

    def starts(self, song: Song) -> tuple[float, ...]:
        """Where a song was cut."""
        return tuple(start for name, start in self.truth if name == song.name)

    def generate(
        self,
        title: str,
        songs: Sequence[Song] | None = None,
        styles: Mapping[str, Sequence[str]] | None = None,
        density: str | None = None,
        separated: Mapping[str, Path] | None = None,
        seeds: int | None = None,
    ) -> Heards:
        """Parts for some songs, by excerpt and seed."""
        plan = self.plan
        chosen = self.songs if songs is None else songs
        jobs = [
            Generation(
                song, self.part, self.starts(song), plan.weights,
                seed=_seed_of(plan, song), seeds=seeds or plan.seeds, candidates=plan.candidates,
                separated=None if separated is None else separated[song.name],
                styles=None if styles is None else tuple(styles[song.name]),
                density=density,
            )
            for song in chosen
        ]  # fmt: skip
        results = run_all(jobs, plan.results, plan.jobs, f"{self.part}: {title}")
        return {
            (song.name, start): [Heard.from_json(heard) for heard in made]
            for song, result in zip(chosen, results, strict=True)
            for start, made in zip(self.starts(song), result["excerpts"], strict=True)
        }

    def redo(self) -> dict[Excerpt, dict[str, float]]:
        """Bars redone inside every song's own part, by excerpt."""
        jobs = [
            Partial(
                song, self.part, self.starts(song), self.plan.weights,
                _seed_of(self.plan, song), self.plan.candidates,
            )
            for song in self.songs
        ]  # fmt: skip
        title = f"{self.part}: bars redone"
        results = run_all(jobs, self.plan.results, self.plan.jobs, title)
        return {
            (song.name, start): measured
            for song, result in zip(self.songs, results, strict=True)
            for start, measured in zip(self.starts(song), result["excerpts"], strict=True)
        }


def draw_styles(bench: Bench, styles: Styles, known: Sequence[str]) -> dict[str, list[str]]:
    """A style for every song and seed, drawn evenly from those that are played in its metre."""
    drawn = {}
    for song in bench.songs:
        metre = bench.truth[(song.name, bench.starts(song)[0])].labels.metre or "4/4"
        choices = [s for s in styles.by_metre.get(metre, ()) if s in known] or list(known)
        rng = np.random.default_rng(_seed_of(bench.plan, song))
        drawn[song.name] = [choices[i] for i in rng.integers(len(choices), size=bench.plan.seeds)]
    return drawn


def _by_excerpt(bench: Bench, wished: Mapping[str, Sequence[str]]) -> dict[Excerpt, Sequence[str]]:
    return {excerpt: wished[excerpt[0]] for excerpt in bench.truth}


def _density(bench: Bench, separated: Mapping[str, Path] | None, seeds: int) -> list[Row]:
    """How much is played, where the song's own drums play a normal amount."""
    title = 'told "normal"'
    normal = [
        song for song in bench.songs
        if (bench.truth[(song.name, bench.starts(song)[0])].labels.density or {}).get("drums")
        == "normal"
    ]  # fmt: skip
    if "density" not in open_engine(bench.plan.weights, "drums").generator.config.controls:
        why = "this checkpoint cannot be told a density"
        return [Row("drums", f"density by the original's, {title}", {}, "within 15 % of 1",
                    False, why)]  # fmt: skip
    if not normal:
        why = "no piece is labelled normal"
        return [Row("drums", f"density by the original's, {title}", {}, "within 15 % of 1",
                    None, why)]  # fmt: skip
    made = bench.generate(
        "density normal", normal, density="normal", separated=separated, seeds=seeds
    )
    rows = [density_row(made, bench.truth, title)]
    if separated is None:
        for asked in ("sparse", "busy"):
            other = bench.generate(f"density {asked}", normal[:WITHOUT_BAR], density=asked, seeds=1)
            rows.append(control_row(other, {e: made[e] for e in other}, asked))
    return rows


def _styled(bench: Bench, styles: Styles, separated: Mapping[str, Path] | None) -> list[Row]:
    """The requested style: drawn evenly, and the song's own."""
    known = open_engine(bench.plan.weights, "drums").generator.config.styles
    classifier = styles.classifier
    drawn = draw_styles(bench, styles, known)
    if separated is not None:
        drawn = {song: styles_of_song[:1] for song, styles_of_song in drawn.items()}
    made = bench.generate("style drawn", styles=drawn, separated=separated)
    rows = [
        style_row(made, _by_excerpt(bench, drawn), bench.truth, classifier, "drawn style", True)
    ]
    if separated is None:
        own = {
            song.name: [bench.truth[(song.name, bench.starts(song)[0])].labels.style or ""]
            for song in bench.songs
        }
        songs = [s for s in bench.songs if own[s.name][0] in known][:WITHOUT_BAR]
        if songs:
            made = bench.generate("own style", songs, styles=own, seeds=1)
            wished = _by_excerpt(bench, own)
            rows.append(style_row(made, wished, bench.truth, classifier, "own style", False))
    return rows


def part_rows(
    bench: Bench,
    styles: Styles | None,
    separated: Mapping[str, Path] | None,
    *,
    labelled: bool,
) -> list[Row]:
    """All rows of one part; what needs labels is left out where the songs have none.

    The drums' rows about styles and density need ``styles`` too.
    """
    part = bench.part

    def rows_from(contexts: Mapping[str, Path] | None, title: str) -> list[Row]:
        # What a separated context costs is told by one generation of each piece.
        seeds = bench.plan.seeds if contexts is None else 1
        made = bench.generate(title, separated=contexts, seeds=seeds)
        rows = measured(part, made, bench.truth, labelled)
        if part == "drums" and styles is not None:
            rows += _density(bench, contexts, seeds)
            rows += _styled(bench, styles, contexts)
        return rows

    rows = rows_from(None, "from the true stems")
    found = list(rows)
    if separated is not None:
        again = {row.title: row for row in rows_from(separated, "from separated stems")}
        found += [
            separated_row(row, again[row.title])
            for row in rows
            if row.bar and row.columns and row.title in again
        ]
    return found + codec_rows(part, bench.truth) + partial_rows(part, bench.redo())


def take_apart(
    plan: Plan, songs: Sequence[Song], benches: Sequence[Bench]
) -> tuple[Scores, dict[str, Path]]:
    """Separate every song once: the scores, and where the contexts for the parts lie."""
    jobs = [
        Separation(
            song,
            tuple((bench.part, start) for bench in benches for start in bench.starts(song)),
            plan.weights,
        )
        for song in songs
    ]
    scores = run_all(jobs, plan.results, plan.jobs, "separation")
    return (
        {song.name: score for song, score in zip(songs, scores, strict=True)},
        {
            song.name: place_of(job, plan.results).with_suffix("")
            for song, job in zip(songs, jobs, strict=True)
        },
    )


def rows_of(
    plan: Plan,
    songs: Sequence[Song],
    wanted: Sequence[str],
    contexts: Sequence[str],
    styles: Styles | None,
    most: int,
    *,
    labelled: bool,
) -> tuple[list[Row], Scores]:
    """The rows of parts and separation over some songs, ``most`` that sound for each part."""
    benches = [Bench(plan, songs, part, most) for part in PARTS if part in wanted]
    separated = bool(benches) and "separated" in contexts
    scores: Scores = {}
    apart: dict[str, Path] | None = None
    if separated or "separation" in wanted:
        scores, found = take_apart(plan, songs, benches if separated else [])
        apart = found if separated else None
    rows = [row for bench in benches for row in part_rows(bench, styles, apart, labelled=labelled)]
    if "separation" in wanted:
        rows += separation_rows(scores)
    return rows, scores


def open_multitracks(folder: Path) -> list[Song]:
    """The songs under a folder; those that cannot be measured on are named and skipped."""
    songs: list[Song] = []
    for inner in sorted(path for path in folder.iterdir() if path.is_dir()):
        try:
            songs.append(open_multitrack(inner))
        except BadMultitrack as reason:
            print(f"skipped {reason}", file=sys.stderr)
    return songs


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    home = Path(os.environ.get("REPRISE_HOME", Path.home() / ".reprise"))
    parser = argparse.ArgumentParser(
        prog="reprise bench quality",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--corpus", type=Path, help="a corpus whose test splits are used")
    parser.add_argument("--multitracks", type=Path, help="a folder of songs' folders of stems")
    parser.add_argument("--folder", type=Path, help="read weights from here, not from the cards")
    parser.add_argument("--kept", type=Path, default=home / "benchmarks",
                        help="where renders and results are kept")  # fmt: skip
    parser.add_argument("--pieces", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=3, help="generations of each piece")
    parser.add_argument("--seed", type=int, default=1, help="of the first of them")
    parser.add_argument("--candidates", type=int, default=GenerationRequest.candidates)
    parser.add_argument("--only", nargs="+", choices=GROUPS, default=list(GROUPS))
    parser.add_argument("--contexts", nargs="+", choices=("true", "separated"),
                        default=["true", "separated"], help="generate from")  # fmt: skip
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="processes")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args(argv)
    for name, least in (("pieces", 2), ("seeds", 1), ("candidates", 1), ("jobs", 1)):
        if getattr(options, name) < least:
            parser.error(f"--{name} is at least {least}")
    for name in ("corpus", "multitracks", "folder"):
        given = getattr(options, name)
        if given is not None and not given.is_dir():
            parser.error(f"--{name}: there is no folder {given}")
    return options


def _rendered_rows(options: argparse.Namespace, plan: Plan) -> list[Row]:
    """The rows over held-out rendered pieces."""
    corpus: Path = options.corpus
    if corpus is None:
        splits = {"test": options.pieces + 8, "test-font": min(FONT_PIECES, options.pieces)}
        corpus = render_held_out(options.kept / "held-out", splits, plan.jobs)
    songs: list[Rendered] = listed(corpus, "test", options.pieces + 8)
    styles = None
    if "drums" in options.only:
        training = listed(corpus, "train", STYLE_PIECES) if options.corpus else None
        styles = learn_styles(training, plan.results, plan.jobs)
    rows, scores = rows_of(
        plan, songs, options.only, options.contexts, styles, options.pieces, labelled=True
    )
    if "separation" in options.only:
        unseen = listed(corpus, "test-font", min(FONT_PIECES, options.pieces))
        if unseen:
            rows.append(font_row(scores, take_apart(plan, unseen, [])[0]))
    return rows


def _multitrack_rows(options: argparse.Namespace, plan: Plan) -> list[Row]:
    """The rows over songs that nobody trained on; none where no song can be measured on."""
    songs = open_multitracks(options.multitracks)
    if not songs:
        print(f"no song in {options.multitracks} can be measured on", file=sys.stderr)
        return []
    rows, _ = rows_of(plan, songs, options.only, options.contexts, None, len(songs), labelled=False)
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; the same figures under the same seeds and weights on one device."""
    options = _options(argv)
    plan = Plan(Weights(options.folder), options.seed, options.seeds, options.candidates,
                options.kept / "results", options.jobs)  # fmt: skip
    written: dict[str, object] = {
        "pieces": options.pieces, "seeds": options.seeds, "seed": options.seed,
        "candidates": options.candidates,
    }  # fmt: skip
    try:
        if set(options.only) - {"resources"}:
            rows = _rendered_rows(options, plan)
            print(text(rows))
            written["rendered"] = report(rows)
            if options.multitracks:
                rows = _multitrack_rows(options, plan)
                print(f"\nsongs of {options.multitracks.name}: nothing is labelled\n{text(rows)}")
                written["multitracks"] = report(rows)
        if "resources" in options.only:
            rows = [size_row(plan.weights), speed_row(plan.weights), memory_row(plan.weights)]
            print(text(rows))
            written["resources"] = report(rows)
    except (RendererMissing, ValueError) as error:
        print(f"reprise bench quality: {error}", file=sys.stderr)
        return 1
    if options.json:
        options.json.write_text(json.dumps(written, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

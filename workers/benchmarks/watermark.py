"""How well the watermark is found again, and how often where there is none.

Marks are laid on rendered pieces of the test splits, which nothing was chosen by, and looked for
after each attack at a threshold that is computed, not fitted: a file without a mark passes it with
a probability of one in a million at most. Intervals are 95 % after Clopper and Pearson (1934).
"""

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from service.watermark import detection, embedding
from service.watermark.code import encode
from service.watermark.detection import FALSE_POSITIVES, TRIED, Detection
from service.watermark.layout import METHOD, pattern
from service.watermark.measured import NAME, Measured
from service.watermark.payload import payload_of
from service.watermark.spectrum import accumulated, band_power, power, whitened
from workers.benchmarks import additive
from workers.benchmarks.attacks import (
    ATTACKS,
    MEAN_OF_TWO,
    TWICE,
    Scene,
    speech_source,
)
from workers.benchmarks.held_out import Rendered, listed
from workers.benchmarks.masking import masking
from workers.benchmarks.rendering import render_held_out
from workers.benchmarks.store import Job, run_all
from workers.training.data.pieces import SAMPLE_RATE
from workers.training.data.soundfont import RendererMissing

VERSION = 1
"""Raised when an attack or a measure changes, so that old results are not taken for new."""
SPLITS = ("test", "test-style", "test-font")
KEYS = 6
"""Of every unmarked piece, so many keys are tried."""
CLIP_S = 10.0
TAIL_KEYS = 100
TAILS = (2.0, 3.0, 4.0)
PEAK = 0.89

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Method:
    """What is compared: writing, and reading all that is found."""

    name: str
    embed: Callable[[Samples, int, int, bytes], Samples]
    detect_all: Callable[[Samples, int, bytes], list[Detection]]


METHODS = {
    "levels": Method(METHOD, embedding.embed, detection.detect_all),
    "additive": Method("additive spread spectrum", additive.embed, additive.detect_all),
}


def master(song: Rendered) -> Samples:
    """The piece as a remix would leave: the sum of its stems, at most 1 dB under full scale."""
    total = np.sum([stem for _, stem in sorted(song.stems().items())], axis=0)
    highest = float(np.abs(total).max(initial=0.0))
    return (total * min(1.0, PEAK / highest) if highest else total).astype(np.float32)


def _key(number: int) -> bytes:
    return f"reprise bench watermark {number:08d}".encode()


@dataclass(frozen=True)
class Marked:
    """One piece with a mark, through every attack."""

    song: Rendered
    method: str

    def depends_on(self) -> Mapping[str, Any]:
        """The piece, the method and the measures."""
        return {
            "song": self.song.digest,
            "method": [self.method, METHOD, embedding.MARGIN_DB, additive.BELOW_DB],
            "tried": TRIED,
            "attacks": [attack.name for attack in ATTACKS],
            "speech": speech_source(),
            "version": VERSION,
        }

    def run(self, files: Path) -> Mapping[str, Any]:
        """Mark it, measure the change, attack and look."""
        method, key = METHODS[self.method], _key(0)
        before = master(self.song)
        payload = payload_of(self.song.name)
        second = payload_of(f"{self.song.name}, a sibling")
        begun = time.perf_counter()
        marked = method.embed(before, SAMPLE_RATE, payload, key)
        spent = time.perf_counter() - begun
        masked = masking(before, marked, SAMPLE_RATE)
        attacks = {}
        for number, attack in enumerate(ATTACKS):
            scene = Scene(
                marked,
                before,
                lambda samples: method.embed(samples, SAMPLE_RATE, second, key),
                np.random.default_rng((number, self.song.piece.meta["seed"])),
            )
            heard = attack.apply(scene)
            begun = time.perf_counter()
            found = method.detect_all(heard, SAMPLE_RATE, key)
            looked = time.perf_counter() - begun
            attacks[attack.name] = _judged(attack.name, found, payload, second) | {
                "seconds": looked
            }
        change = float(np.mean(np.square(marked - before, dtype=np.float64)))
        return {
            "snr_db": 10 * math.log10(float(np.mean(np.square(before, dtype=np.float64))) / change),
            "nmr_db": masked.nmr_db,
            "disturbed": masked.disturbed,
            "peak_db": 20 * math.log10(float(np.abs(marked).max() / np.abs(before).max())),
            "times_real": before.shape[1] / SAMPLE_RATE / spent,
            "attacks": attacks,
        }


def _judged(name: str, found: list[Detection], payload: int, second: int) -> dict[str, Any]:
    """Whether the right payload is among those found, and whether any wrong one is."""
    there = {TWICE: {payload, second}, MEAN_OF_TWO: {payload, second}}.get(name, {payload})
    wanted = there if name == MEAN_OF_TWO else {payload}
    right = [one for one in found if one.payload in wanted]
    return {
        "found": bool(right),
        "wrong": sum(one.payload not in there for one in found),
        "score": right[0].score if right else None,
        "bit_error": right[0].bit_error if right else None,
    }


@dataclass(frozen=True)
class Unmarked:
    """One piece without a mark under the keys that are tried: as it is, and with foreign marks.

    Half of the keys meet a clip of the piece, half one that carries the mark of another key.
    """

    song: Rendered
    method: str

    def depends_on(self) -> Mapping[str, Any]:
        """The piece, the method and the keys."""
        return {
            "song": self.song.digest,
            "method": [self.method, METHOD, embedding.MARGIN_DB, additive.BELOW_DB],
            "tried": TRIED,
            "keys": [KEYS, TAIL_KEYS, CLIP_S, *TAILS],
            "version": VERSION,
        }

    def run(self, files: Path) -> Mapping[str, Any]:
        """Look for what is not there."""
        method = METHODS[self.method]
        rng = np.random.default_rng(self.song.piece.meta["seed"])
        music = master(self.song)
        foreign = method.embed(music, SAMPLE_RATE, payload_of(self.song.name), _key(0))
        length = round(CLIP_S * SAMPLE_RATE)
        found = 0
        for number in range(KEYS):
            source = foreign if number % 2 else music
            start = int(rng.integers(0, source.shape[1] - length + 1))
            key = _key(int(rng.integers(1, 10**8)))
            found += bool(method.detect_all(source[:, start : start + length], SAMPLE_RATE, key))
        tail = _tail(music[:, :length], rng) if self.method == "levels" else None
        return {"clips": KEYS, "found": found, "tail": tail}


def _tail(clip: Samples, rng: np.random.Generator) -> dict[str, Any]:
    """How often the score of one payload's pattern passes a height, over keys and offsets."""
    levels = whitened(band_power(accumulated(power(clip, SAMPLE_RATE))))
    cells = detection.folded(levels, 1.0)
    scores = []
    for _ in range(TAIL_KEYS):
        marks = pattern(_key(int(rng.integers(1, 10**8))))
        word = marks.word(encode(int(rng.integers(0, 1 << 48))))
        scores.append(detection.correlation(cells, word))
    every = np.stack(scores)
    return {"scores": every.size, "over": [int((every > height).sum()) for height in TAILS]}


@dataclass(frozen=True)
class Rate:
    """A part of trials with its 95 % interval."""

    hits: int
    trials: int

    @property
    def low(self) -> float:
        """Lower end, after Clopper and Pearson."""
        return float(beta.ppf(0.025, self.hits, self.trials - self.hits + 1)) if self.hits else 0.0

    @property
    def high(self) -> float:
        """Upper end."""
        left = self.trials - self.hits
        return float(beta.ppf(0.975, self.hits + 1, left)) if left else 1.0

    def __str__(self) -> str:
        return f"{self.hits / self.trials:5.3f} ({self.low:.3f} {self.high:.3f})"


def report(marked: Sequence[Mapping[str, Any]], unmarked: Sequence[Mapping[str, Any]]) -> Any:
    """All figures, as JSON types."""
    attacks = {}
    for attack in ATTACKS:
        seen = [piece["attacks"][attack.name] for piece in marked]
        rate = Rate(sum(one["found"] for one in seen), len(seen))
        errors = [one["bit_error"] for one in seen if one["found"]]
        attacks[attack.name] = {
            "words": attack.words,
            "asked": attack.asked,
            "tpr": rate.hits / rate.trials,
            "low": rate.low,
            "high": rate.high,
            "pieces": rate.trials,
            "wrong_payloads": sum(one["wrong"] for one in seen),
            "bit_error": float(np.mean(errors)) if errors else None,
            "score": float(np.mean([one["score"] for one in seen if one["found"]]))
            if errors
            else None,
            "seconds": float(np.mean([one["seconds"] for one in seen])),
        }
    measures = {}
    for name in ("snr_db", "nmr_db", "disturbed", "peak_db", "times_real"):
        values = [piece[name] for piece in marked]
        measures[name] = {
            "mean": float(np.mean(values)),
            "least": min(values),
            "most": max(values),
        }
    clips, found = (sum(piece[name] for piece in unmarked) for name in ("clips", "found"))
    tails = [piece["tail"] for piece in unmarked if piece["tail"]]
    scores = sum(tail["scores"] for tail in tails)
    always = sum(
        all(piece["attacks"][attack.name]["found"] for attack in ATTACKS if attack.asked)
        for piece in marked
    )
    return {
        "attacks": attacks,
        "always": {"found": always, "low": Rate(always, len(marked)).low},
        "measures": measures,
        "false_positives": {
            "bound": FALSE_POSITIVES,
            "clips": clips,
            "found": found,
            "high": Rate(found, clips).high if clips else None,
        },
        "tails": [
            {
                "height": height,
                "scores": scores,
                "seen": sum(tail["over"][place] for tail in tails) / scores,
                "bound": math.exp(-height * height / 2),
            }
            for place, height in enumerate(TAILS)
            if scores
        ],
    }


def text(told: Any) -> str:
    """The table."""
    lines = [f"{'after':34}{'found (95 %)':>22}{'coded bits wrong':>18}{'wrong':>7}{'s':>7}"]
    asked = True
    for row in told["attacks"].values():
        if asked and not row["asked"]:
            lines.append("beyond the list:")
            asked = False
        rate = Rate(round(row["tpr"] * row["pieces"]), row["pieces"])
        error = "-" if row["bit_error"] is None else f"{row['bit_error']:.3f}"
        lines.append(
            f"{row['words']:34}{rate!s:>22}{error:>18}{row['wrong_payloads']:>7}"
            f"{row['seconds']:>7.2f}"
        )
    measures, false = told["measures"], told["false_positives"]
    for name, words in (
        ("snr_db", "signal to mark, dB"),
        ("nmr_db", "mark to masked threshold, dB"),
        ("disturbed", "part of frames disturbed"),
        ("peak_db", "peak raised by, dB"),
        ("times_real", "embedding, times real time"),
    ):
        value = measures[name]
        lines.append(
            f"{words:34}{value['mean']:8.3f} (from {value['least']:.3f} to {value['most']:.3f})"
        )
    lines.append(
        f"no mark, or another key's: {false['found']} of {false['clips']} clips found one "
        f"(under {false['high']:.5f} with 97.5 %); bound in advance {false['bound']:g}"
    )
    lines += [
        f"score over {tail['height']:g}: {tail['seen']:.2e} of {tail['scores']:,}; "
        f"bound {tail['bound']:.2e}"
        for tail in told["tails"]
    ]
    return "\n".join(lines)


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    home = Path(os.environ.get("REPRISE_HOME", Path.home() / ".reprise"))
    parser = argparse.ArgumentParser(
        prog="reprise bench watermark",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--method", choices=tuple(METHODS), default="levels")
    parser.add_argument("--pieces", type=int, default=40, help="that are marked")
    parser.add_argument("--unmarked", type=int, default=120, help="pieces that are not")
    parser.add_argument("--corpus", type=Path, help="a corpus whose test splits are used")
    parser.add_argument("--kept", type=Path, default=home / "benchmarks",
                        help="where renders and results are kept")  # fmt: skip
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="processes")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--seal", action="store_true",
                        help="make these the rates that a find is told with")  # fmt: skip
    options = parser.parse_args(argv)
    if options.seal and options.method != "levels":
        parser.error("--seal: the service reads levels alone")
    for name in ("pieces", "unmarked", "jobs"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} is at least 1")
    if options.corpus is not None and not options.corpus.is_dir():
        parser.error(f"--corpus: there is no folder {options.corpus}")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table."""
    options = _options(argv)
    most = max(options.pieces, options.unmarked)
    try:
        corpus = options.corpus
        if corpus is None:
            wanted = {"test": most, "test-style": most, "test-font": most}
            corpus = render_held_out(options.kept / "held-out", wanted, options.jobs)
    except (RendererMissing, ValueError) as error:
        print(f"reprise bench watermark: {error}", file=sys.stderr)
        return 1
    songs = [song for split in SPLITS for song in listed(corpus, split)]
    # Every so many-th: all splits take part.
    marked: list[Job] = [Marked(song, options.method) for song in _spread(songs, options.pieces)]
    clear: list[Job] = [Unmarked(song, options.method) for song in _spread(songs, options.unmarked)]
    results = options.kept / "results"
    told = report(
        run_all(marked, results, options.jobs, "marked pieces"),
        run_all(clear, results, options.jobs, "unmarked pieces"),
    )
    print(f"{METHODS[options.method].name}, {len(marked)} pieces; speech by {speech_source()}")
    print(text(told))
    if options.json:
        options.json.write_text(json.dumps(told, indent=2) + "\n")
    if options.seal:
        Path(str(files("service.watermark").joinpath(NAME))).write_text(
            sealed(told).model_dump_json(indent=2) + "\n", encoding="utf-8"
        )
    return 0


def sealed(told: Any) -> Measured:
    """Of all figures those that are told with every find: over the attacks that were asked for."""
    asked = [row for row in told["attacks"].values() if row["asked"]]
    return Measured(
        method=METHOD,
        pieces=asked[0]["pieces"],
        attacks=[row["words"] for row in asked],
        found=sum(round(row["tpr"] * row["pieces"]) for row in asked),
        found_low=told["always"]["low"],
        false_positives=told["false_positives"]["bound"],
        unmarked=told["false_positives"]["clips"],
        unmarked_found=told["false_positives"]["found"],
    )


def _spread(songs: Sequence[Rendered], count: int) -> list[Rendered]:
    count = min(count, len(songs))
    return [songs[place * len(songs) // count] for place in range(count)]


if __name__ == "__main__":
    raise SystemExit(main())

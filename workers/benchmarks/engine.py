"""The engine beside transformers and audiocraft: one table of frames a second.

    reprise bench engine [--models bundled small cross medium large | all] [--jobs 1 2 4 8 16]
                         [--threads 1 2] [--precision float32 bfloat16 int8] [--frames N]
                         [--device cpu|cuda] [--step fixed|blocks] [--json FILE]

All run the same weights with guidance 3 (two rows a job). transformers and audiocraft generate one
sequence after the other, so their rate does not depend on the number of jobs; ours share a batch.
The bundled model runs its drums' decoder behind a prefix of random states, as Melody does, and
without the context that only ours can add to every frame. "small" has random weights of
musicgen-small's width and depth (319 M) behind a prefix of twelve random states; "cross" looks at
them as musicgen-small does (420 M); "medium" and "large" are the published ones' sizes, which look
too. "all" are the first two. "tiny" is for trying the command itself.

On a GPU ("--device cuda") ours takes steps of one width, captured as CUDA graphs, in bfloat16
unless said otherwise; "--step fixed" takes the same steps, not captured, on a CPU. "peak" is what
all tensors of the process took at most, the weights of all three systems among them (GPU alone).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from workers.benchmarks.engine_systems import BITS, MODELS, Case
from workers.benchmarks.held_out import listed
from workers.benchmarks.held_out_codes import cross_entropies, window_of
from workers.benchmarks.rendering import render_held_out
from workers.benchmarks.weights import PARTS, Weights, open_engine
from workers.regeneration.decoder.linear import Precision
from workers.training.data.soundfont import RendererMissing

FRAMES = {"bundled": 250, "tiny": 20}
LARGE_FRAMES = 40
"""Unless said otherwise: 5 s, and on a CPU less than one of models a hundred times larger."""
FRAMES_PER_S = 50.0

PIECES = 12
_HEADINGS = (
    ("jobs", 5), ("frames/s", 10), ("ms a step", 11), ("x transf.", 11), ("x audiocr.", 11),
    ("CPU: x t.", 11), ("CPU: x a.", 11), ("of floor", 10), ("audio s/s", 11), ("peak MB", 9),
)  # fmt: skip


def _listed(given: str | Sequence[str]) -> list[str]:
    """Of "1,2" and of "1 2"."""
    texts = [given] if isinstance(given, str) else given
    return [item.strip() for text in texts for item in text.split(",") if item.strip()]


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="reprise bench engine",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", "--models", nargs="+", default=["all"], help=", ".join(MODELS))
    parser.add_argument("--jobs", nargs="+", default="1,2,4,8,16", help="sequences at once")
    parser.add_argument("--threads", nargs="+", help="of the processor; by default 1 and 2")
    parser.add_argument("--precision", nargs="+", help=", ".join(BITS))
    parser.add_argument("--frames", type=int, help="of each sequence; by default as the model's")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved runs of everything")
    parser.add_argument("--device", default="cpu", help='"cuda" where there is one')
    parser.add_argument("--step", choices=("fixed", "blocks"), help="by default the device's")
    parser.add_argument("--compiled", action="store_true", help="try torch.compile on theirs")
    parser.add_argument("--corpus", type=Path, help="held-out pieces; rendered where absent")
    parser.add_argument("--no-quality", action="store_true", help="no cross-entropy")
    parser.add_argument("--json", type=Path, help="where the figures are written")
    options = parser.parse_args(argv)
    gpu = not options.device.startswith("cpu")
    options.jobs = _numbers(parser, options.jobs)
    options.threads = _numbers(parser, options.threads or ("1" if gpu else "1,2"))
    options.precision = _listed(options.precision or ("bfloat16" if gpu else list(BITS)))
    options.model = _listed(options.model)
    if options.model == ["all"]:
        options.model = ["bundled", "small"]
    unknown = {*options.precision} - {*BITS} | {*options.model} - {*MODELS}
    few = not (options.jobs and options.threads and options.precision and options.model)
    if unknown or few or min([*options.jobs, *options.threads, options.rounds]) < 1:
        parser.error(
            f"precisions are {', '.join(BITS)}; models {', '.join(MODELS)}; numbers start at 1"
        )
    return options


def _numbers(parser: argparse.ArgumentParser, given: str | Sequence[str]) -> list[int]:
    try:
        return [int(n) for n in _listed(given)]
    except ValueError as error:
        parser.error(str(error))


def _frames(model: str, device: str) -> int:
    return FRAMES.get(model, LARGE_FRAMES if device.startswith("cpu") else FRAMES["bundled"])


def _measured(case: dict[str, Any]) -> dict[str, Any]:
    """One configuration in a process of its own.

    Raises:
        RuntimeError: it failed; the message is its last line.
    """
    threads = str(case["threads"])
    done = subprocess.run(
        [sys.executable, "-m", "workers.benchmarks.engine_systems", json.dumps(case)],
        # Threads that spin while they wait take the processor from those that work.
        env={**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads,
             "OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise RuntimeError(" ".join(done.stderr.strip().splitlines()[-1:]) or "no word")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _shown(found: dict[str, Any]) -> str:
    case, machine = found["case"], found["machine"]
    megabytes = found["weights"] * BITS[case["precision"]] / 8e6
    load = ", ".join(f"{value:.1f}" for value in found["load"])
    same = {True: "same greedy codes", False: "GREEDY CODES DIFFER", None: ""}
    notes = [
        f"{case['device']}, {case['threads']} thread{'s' if case['threads'] > 1 else ''}",
        f"{case['frames']} frames, {case['rounds']} rounds, load {load}",
        same[found["codes_agree"]],
        f"steps: {found['steps']}" if "steps" in found else "",
    ]
    reads = (
        f"read at {machine['far'] / 1e9:.1f} GB/s from memory,"
        f" {machine['near'] / 1e9:.1f} GB/s at that size"
    )
    size = f"{found['weights'] / 1e6:.1f} M weights a step, {megabytes:.1f} MB"
    lines = [
        f"{case['model']}, {case['precision']}: " + "; ".join(note for note in notes if note),
        f"  {size}; {reads}; {machine['peak'] / 1e9:.0f} G operations/s",
        f"  transformers: {found['settings']}",
        f"  {'':14}" + "".join(f"{name:>{width}}" for name, width in _HEADINGS),
    ]
    for row in found["rows"]:
        cells = (
            f"{row['jobs']}", f"{row['frames_per_s']:.1f}", f"{row['ms_per_step']:.2f}",
            f"{row['wall_times_transformers']:.2f}", f"{row['wall_times_audiocraft']:.2f}",
            f"{row['cpu_times_transformers']:.2f}", f"{row['cpu_times_audiocraft']:.2f}",
            f"{100 * row['share_of_floor']:.0f} %", f"{row['frames_per_s'] / FRAMES_PER_S:.1f}",
            f"{row['peak_bytes'] / 1e6:.0f}" if row.get("peak_bytes") else "-",
        )  # fmt: skip
        lines.append(
            f"  {row['system']:14}"
            + "".join(f"{cell:>{width}}" for cell, (_, width) in zip(cells, _HEADINGS, strict=True))
        )
    return "\n".join(lines)


def _quality(precisions: Sequence[Precision], corpus: Path | None) -> list[dict[str, Any]]:
    """Cross-entropy of every precision on held-out codes of the bundled models.

    Raises:
        RendererMissing: there is no corpus and nothing to render one with.
    """
    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory(prefix="reprise-bench-") as place:
        found = corpus or render_held_out(Path(place) / "corpus", {"test": PIECES}, 1)
        pieces = listed(found, "test", PIECES)
        for part in PARTS:
            engine = open_engine(Weights(), part)
            window, codes = window_of(engine, pieces)
            exact = cross_entropies(engine.generator, window, codes, "float32")
            for precision in precisions:
                cells = cross_entropies(engine.generator, window, codes, precision)
                # Pieces are independent of each other, their cells are not.
                by_piece = (cells - exact).mean(dim=(1, 2)).tolist()
                rows.append({
                    "part": part, "precision": precision, "pieces": len(codes),
                    "nats": float(cells.mean()), "more_than_float32": statistics.mean(by_piece),
                    "worst_piece": max(by_piece),
                })  # fmt: skip
            engine.close()
    return rows


def _quality_shown(rows: Sequence[dict[str, Any]]) -> str:
    lines = ["cross-entropy on codes of held-out pieces, nats a cell (lower is better)"]
    lines += [
        f"  {row['part']:7}{row['precision']:10}{row['nats']:8.4f}"
        f"  {row['more_than_float32']:+.5f} to float32, at worst {row['worst_piece']:+.5f}"
        f" in one of {row['pieces']} pieces"
        for row in rows
    ]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables; ends with 1 where a configuration failed."""
    options = _options(argv)
    cases = [
        Case(model, threads, precision, tuple(options.jobs),
             options.frames or _frames(model, options.device), options.rounds, options.device,
             options.compiled, None if options.step is None else options.step == "fixed")
        for model in options.model
        for precision in options.precision
        for threads in options.threads
    ]  # fmt: skip
    written: dict[str, Any] = {"engine": []}
    failed = False
    for case in cases:
        try:
            found = _measured({**case.__dict__, "jobs": list(case.jobs)})
        except RuntimeError as error:
            failed = True
            print(f"{case.model}, {case.precision}, {case.threads}: failed: {error}\n", flush=True)
        else:
            written["engine"].append(found)
            print(_shown(found) + "\n", flush=True)
    if "bundled" in options.model and not options.no_quality and options.device == "cpu":
        try:
            written["quality"] = _quality(options.precision, options.corpus)
            print(_quality_shown(written["quality"]))
        except (RendererMissing, ValueError) as error:
            failed = True
            print(f"cross-entropy was not measured: {error}", file=sys.stderr)
    if options.json:
        options.json.write_text(json.dumps(written, indent=2) + "\n")
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())

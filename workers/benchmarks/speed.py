"""How long 30 s of drums take: one thread, eight candidates, the engine as it serves a remix.

    python -m workers.benchmarks.speed [--folder DIR]

Prints one line of JSON. A process of its own, because threads cannot be taken away later.
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from workers.benchmarks.weights import Weights, open_engine
from workers.regeneration.request import GenerationRequest

SECONDS, CANDIDATES = 30.0, 8


def main(argv: Sequence[str] | None = None) -> int:
    """Measure once, after a second of warming up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="weights to read, instead of the sealed ones")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    engine = open_engine(Weights(options.folder), "drums")

    def seconds_for(length: float) -> float:
        samples = round(length * engine.sample_rate)
        context = 0.1 * torch.randn(1, samples, generator=torch.Generator().manual_seed(0))
        request = GenerationRequest(
            context, engine.generator.config.styles[0], seed=1, candidates=CANDIDATES
        )
        before = time.process_time()
        engine.submit(request).result()
        return time.process_time() - before

    seconds_for(1.0)
    print(json.dumps({"seconds": SECONDS, "cpu_seconds": round(seconds_for(SECONDS), 2)}))
    engine.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""A device that does not answer."""

import os
import subprocess
import sys
import threading
from pathlib import Path

from engine_fixtures import StepGate, request
from generator_fixtures import ClickCodec, tiny_generator

from workers.regeneration.engine import Engine


def test_a_device_that_does_not_answer_is_noticed() -> None:
    wedged = threading.Event()
    engine = Engine(tiny_generator(), ClickCodec(), wedged_s=0.3, on_wedged=wedged.set)
    assert not wedged.wait(0.6), "an idle engine is not wedged"
    gate = StepGate(engine, hold_at=10)
    handle = engine.submit(request(1.0))
    assert gate.reached.wait(30)
    assert wedged.wait(10)
    gate.go.set()
    handle.result(60)
    engine.close()


def test_a_wedged_process_ends() -> None:
    """Its jobs' leases run out, and other workers take them."""
    script = (
        "import sys, time; sys.path.append(sys.argv[1])\n"
        "from generator_fixtures import ClickCodec, clicks, tiny_generator\n"
        "from workers.regeneration.engine import Engine\n"
        "from workers.regeneration.request import GenerationRequest\n"
        "engine = Engine(tiny_generator(), ClickCodec(), wedged_s=0.5)\n"
        "engine._batch.advance = lambda: time.sleep(600)\n"
        "engine.submit(GenerationRequest(clicks(1.0), 'rock', 1, 1)).result()\n"
    )
    here = str(Path(__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", script, here],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == os.EX_SOFTWARE
    assert "does not answer" in done.stderr

"""How a worker starts."""

import os
import subprocess
import sys
from pathlib import Path

from workers.pipeline import PIPELINE, stage_function


def test_every_stage_has_its_function() -> None:
    for stage in PIPELINE:
        assert callable(stage_function(stage))


def test_a_worker_answers_before_torch_is_there(tmp_path: Path) -> None:
    code = (
        "import sys, workers.app\n"
        "assert 'reprise.regenerate' in workers.app.app.tasks\n"
        "import workers.stages.ingest\n"
        "assert 'torch' not in sys.modules, 'a remix may wait for torch, an ingestion need not'\n"
    )
    environment = {
        **os.environ,
        "REPRISE_HOME": str(tmp_path),
        "REPRISE_BROKER_URL": "redis://127.0.0.1:1/0",
    }
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=120)

"""`python -m workers`: one worker process; further arguments go to Celery's `worker` command."""

import sys

from workers.app import app


def main(arguments: list[str]) -> None:
    """Run the worker until it is told to stop."""
    # fmt: off
    app.worker_main([
        "worker", "--pool", "threads", "--concurrency", "1", "--queues", "ingest,remix",
        "--loglevel", "info", "--without-gossip", "--without-mingle", *arguments,
    ])
    # fmt: on


if __name__ == "__main__":
    main(sys.argv[1:])

"""The demo's voice: each station as it is done, each stage of the job as it moves."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from service.demo.client import FINAL, Happened

STAGES = {
    "separate": "take the song apart",
    "regenerate": "play the new part",
    "mix": "mix it in",
    "stamp": "sign the file",
    "publish": "publish",
}
PAUSE_SECONDS = 0.1
REPORTED_STEP = 0.25


class Narrator:
    """Prints to `console`: live bars on a terminal, plain lines elsewhere."""

    def __init__(self, console: Console) -> None:
        self.console = console

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Something that takes a moment: named when it is done."""
        began = time.monotonic()
        if self.console.is_terminal:
            with self.console.status(escape(text)):
                yield
        else:
            yield
        self._done(text, time.monotonic() - began)

    def note(self, text: str) -> None:
        """Something that was so already."""
        self.console.print(f"  [dim]·[/] {escape(text)}")

    def pause(self) -> None:
        """Wait a moment before asking again."""
        time.sleep(PAUSE_SECONDS)

    def follow(self, events: Iterable[Happened]) -> Happened:
        """Show a job's events as they happen; returns the last one."""
        with Progress(
            TextColumn("    {task.description:<22}"),
            BarColumn(bar_width=32),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        ) as bars:
            bar = bars.add_task("wait for a worker", total=1.0)
            stage, began, reported, cached = "", time.monotonic(), 0.0, False
            for event in events:
                now = str(event.data.get("stage") or stage)
                status = event.data.get("status")
                if event.type == "stage" and status == "started" and now != stage:
                    stage, began, reported, cached = now, time.monotonic(), 0.0, False
                    bars.reset(bar, description=STAGES.get(now, now), total=1.0)
                    if not self.console.is_terminal:
                        self.console.print(f"  … {STAGES.get(now, now)}")
                elif event.type == "stage" and status == "finished":
                    cached = bool(event.data.get("cached"))
                    text = STAGES.get(stage, stage) + (" (known already)" if cached else "")
                    self._done(text, time.monotonic() - began)
                elif event.type == "progress":
                    done = float(event.data.get("stage_progress", 0.0))
                    bars.update(bar, completed=done)
                    if not self.console.is_terminal and done >= reported + REPORTED_STEP:
                        reported = done
                        self.console.print(f"    {done:.0%}")
                elif event.type == "retry":
                    self.note(f"once more, attempt {event.data.get('attempt')}")
                if event.type in FINAL:
                    if event.type == "published":
                        self._done(STAGES["publish"], time.monotonic() - began)
                    return event
        raise RuntimeError("the events ended before the job")

    def _done(self, text: str, seconds: float) -> None:
        took = f"  [dim]{seconds:.1f} s[/]" if seconds >= 0.1 else ""
        self.console.print(f"  [green]✓[/] {escape(text)}{took}")

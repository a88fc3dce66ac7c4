"""`reprise up`: the stack in the foreground until it is interrupted."""

import signal
from types import FrameType

from rich.console import Console
from rich.markup import escape

from service.embedded.ports import PortTaken
from service.embedded.stack import AlreadyRunning, Stack, StartFailed
from service.settings import Settings


class Interrupted(KeyboardInterrupt):
    """SIGTERM or SIGHUP, made to unwind like Ctrl-C so that every child is stopped."""


def unwind_on_signals() -> None:
    """Let a polite kill or a closed terminal end the command the way Ctrl-C does."""

    def unwind(_number: int, _frame: FrameType | None) -> None:
        raise Interrupted

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, unwind)


def serve_until_interrupted(settings: Settings, *, host: str, port: int | None) -> int:
    """Run the stack; returns the exit status."""
    console, errors = Console(highlight=False), Console(stderr=True, highlight=False)
    unwind_on_signals()
    try:
        with Stack(settings, host=host, port=port) as stack:
            console.print(
                f"Reprise is at [bold]{stack.url}[/] (API: {stack.url}/docs). Ctrl-C ends."
            )
            stack.wait()
    except KeyboardInterrupt:
        console.print("Stopped.")
    except AlreadyRunning as running:
        errors.print(
            f"[bold red]Reprise is {running}[/] on {settings.home}: use that one or end it."
        )
        return 1
    except (PortTaken, StartFailed) as error:
        errors.print(f"[bold red]Reprise did not start:[/] {escape(str(error))}")
        return 1
    return 0

"""`reprise demo`: start the embedded parts (or use those that run), tell the story, stay up."""

import time
from contextlib import AbstractContextManager, nullcontext

from rich.console import Console
from rich.markup import escape

from checkpoints import registry
from service.demo.client import Refused
from service.demo.narrator import Narrator
from service.demo.request import DemoRequest, NotPossible, words_for
from service.demo.story import Story, Told
from service.embedded.command import unwind_on_signals
from service.embedded.ports import PortTaken
from service.embedded.stack import AlreadyRunning, Stack, StartFailed, running_url
from service.settings import Settings


def play(settings: Settings, request: DemoRequest, *, port: int | None, serve: bool) -> int:
    """Run the demo; returns the exit status: 0 only when the remix's credential is trusted."""
    console = Console(highlight=False, soft_wrap=True)
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    unwind_on_signals()
    began = time.monotonic()
    told: Told | None = None
    try:
        song, words = request.song(), ", ".join(words_for(request.choices()))
        console.print(f"[bold]Reprise[/]: {escape(song.name)}, new {request.part}, {escape(words)}")
        stack = _stack(settings, console, port)
        with stack as running:
            url = running.url if isinstance(running, Stack) else running
            settings = settings.model_copy(update={"home": settings.home.resolve()})
            console.print(
                f"  [green]✓[/] Service at {url}  [dim]{time.monotonic() - began:.1f} s[/]"
            )
            alive = running.check if isinstance(running, Stack) else lambda: None
            told = Story(settings, url, Narrator(console)).tell(request, alive)
            stays = serve or not isinstance(running, Stack)
            _last_lines(console, settings, request, told, time.monotonic() - began, stays=stays)
            if told.verdict != "trusted":
                return 1
            if serve and isinstance(running, Stack):
                console.print("\nThe page stays up until Ctrl-C.")
                running.wait()
    except KeyboardInterrupt:
        console.print("\nStopped.")
        return 130 if told is None else 0
    except (NotPossible, PortTaken, StartFailed) as error:
        errors.print(f"[bold red]Not possible:[/] {escape(str(error))}")
        return 1
    except AlreadyRunning:
        errors.print(
            f"[bold red]Not possible:[/] another command is just starting or stopping on "
            f"{settings.home}; try again in a moment"
        )
        return 1
    except Refused as refused:
        errors.print(f"[bold red]{escape(refused.title)}.[/] {escape(refused.detail)}")
        return 1
    return 0


def _stack(
    settings: Settings, console: Console, port: int | None
) -> AbstractContextManager[Stack | str]:
    url = running_url(settings.home)
    if url is not None and port is None:
        console.print(f"  [dim]·[/] Using the service that runs at {url}")
        return nullcontext(url)
    return Stack(settings, port=port)


def _last_lines(
    console: Console,
    settings: Settings,
    request: DemoRequest,
    told: Told,
    seconds: float,
    *,
    stays: bool,
) -> None:
    separator = registry.separator_for(settings.separator, commercial=False)
    if request.track is not None and separator.bundled:
        console.print(
            "  [dim]·[/] The bundled separator knows rendered music best; for recordings "
            "`reprise models pull htdemucs --non-commercial` fetches one that knows more."
        )
    good = told.verdict == "trusted"
    console.print(f"\nDone in {seconds:.0f} s.")
    console.print(f"  Remix       [bold]{escape(str(told.file))}[/]")
    console.print(f"  Credential  [bold {'green' if good else 'red'}]{told.verdict}[/]")
    page = told.page if stays else "not served now; `make demo` without SERVE=0 leaves it up"
    console.print(f"  Page        {escape(page)}")

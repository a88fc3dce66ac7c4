"""What every player of a piece has: a hand with a feel for time, and ways about the scale."""

from random import Random

from workers.training.data.score import Grid, Note


class Hand:
    """Writes notes for one player.

    Args:
        grid: where the steps fall.
        program: the instrument, on every note.
        role: the note's ``channel_role``.
        rng: of loudness and scatter.
        late: how far the player lies behind the grid, milliseconds; negative is ahead.
        jitter: standard deviation of the scatter, milliseconds.
    """

    def __init__(
        self, grid: Grid, program: int, role: str, rng: Random, late: float, jitter: float
    ) -> None:
        self.grid, self.program, self.role, self.rng = grid, program, role, rng
        self.late, self.jitter = late / 1000, jitter / 1000
        self.notes: list[Note] = []

    def play(
        self,
        bar: int,
        step: float,
        steps: float,
        pitch: int,
        loudness: float,
        late: float = 0.0,
    ) -> None:
        """Add a note of ``steps`` sixteenths; ``late`` milliseconds on top of the player's own."""
        # A player breathes, but never plays the neighbour's place: three deviations at most.
        scatter = max(-3.0, min(3.0, self.rng.gauss(0.0, 1.0))) * self.jitter
        start = max(0.0, self.grid.time(bar, step) + self.late + late / 1000 + scatter)
        length = max(0.03, steps * self.grid.step_seconds)
        velocity = max(1, min(127, round(self.rng.gauss(loudness, 6.0))))
        self.notes.append(Note(start, length, pitch, velocity, self.program, self.role))


def nearest(pitch_class: int, around: int) -> int:
    """The MIDI pitch of a class that lies closest to another pitch."""
    return around + (pitch_class - around + 6) % 12 - 6


def scale_step(pitch: int, scale: tuple[int, ...], steps: int) -> int:
    """Move along the scale from a pitch; a pitch outside it is first rounded down into it."""
    while pitch % 12 not in scale:
        pitch -= 1
    direction = 1 if steps > 0 else -1
    for _ in range(abs(steps)):
        pitch += direction
        while pitch % 12 not in scale:
            pitch += direction
    return pitch

"""The styles a piece can be in: what each stem of one plays, as data.

A pattern is a string of sixteenths, one bar long: ``x`` a hit, ``o`` a hit on the toss of a coin,
``.`` a rest; twelve of them in 3/4 (four a beat) and 6/8 (six a dotted beat). Programs are General
MIDI numbers from 0. Drum kits are programs of bank 128 (0 standard, 8 room, 16 power, 24
electronic, 25 TR-808, 32 jazz, 40 brush, 48 orchestra; the numbers between are variants, played by
the family's first where a font lacks them). -1 names the instruments of ``drum_synthesis`` and
``bass_synthesis``.
"""

from dataclasses import dataclass

SYNTHESISED = -1


@dataclass(frozen=True)
class Groove:
    """What the drummer of a style plays in one metre.

    Attributes:
        kicks: groove patterns; the kick plays one and the bass follows its onsets.
        snares: back-beat patterns.
        cymbals: time-keeping patterns as (MIDI drum note, pattern), the second for full sections.
        percussion: optional extra layers as (MIDI drum note, pattern).
        bpm: lowest and highest tempo, beats a minute, where the metre's differs from the style's.
        weight: how often the style is in this metre, against its others.
    """

    kicks: tuple[str, ...]
    snares: tuple[str, ...]
    cymbals: tuple[tuple[int, str], tuple[int, str]]
    percussion: tuple[tuple[int, str], ...] = ()
    bpm: tuple[int, int] | None = None
    weight: float = 1.0


@dataclass(frozen=True)
class Feel:
    """How late players are against the grid, and how far they scatter; milliseconds.

    Negative is early. ``snare`` is on top of ``drums``. ``jitter`` is a standard deviation.
    """

    drums: float = 0.0
    snare: float = 0.0
    bass: float = 0.0
    other: float = 0.0
    jitter: float = 4.0


@dataclass(frozen=True)
class Style:
    """One style.

    Attributes:
        name: as a listener writes it.
        bpm: lowest and highest tempo, beats a minute.
        modes: the modes a piece may be in.
        grooves: by metre ("4/4", "3/4", "6/8").
        kits: drum kits to choose from.
        bass_lines: names understood by ``bass_part``.
        bass_programs: General MIDI programs of the bass.
        comps: names understood by ``melodic_parts``.
        comp_programs: General MIDI programs of the accompaniment.
        lead_programs: General MIDI programs of the instrumental melody.
        snare_note: MIDI drum note that plays the back-beat.
        soft_snare: the note that plays it where a section is quiet; the same where None.
        fill: what fills are made of: "toms", "snare", "clap", "rolls" or "timpani".
        percussion: probability that a percussion layer plays.
        ghosts: probability of a soft snare stroke on each weak sixteenth.
        open_hat: probability that a bar's last off-beat is an open hat.
        rolls: whether the hats roll in thirty-seconds and triplets.
        crash: MIDI drum note that marks where sections open.
        swing: delay of the off-beat where the piece swings.
        swung: which subdivision swings, 8 or 16.
        swings: probability that a piece of the style swings.
        sevenths: probability that the chords of the piece are seventh chords.
        feel: where the players are against the grid.
    """

    name: str
    bpm: tuple[int, int]
    modes: tuple[str, ...]
    grooves: dict[str, Groove]
    kits: tuple[int, ...]
    bass_lines: tuple[str, ...]
    bass_programs: tuple[int, ...]
    comps: tuple[str, ...]
    comp_programs: tuple[int, ...]
    lead_programs: tuple[int, ...]
    snare_note: int = 38
    soft_snare: int | None = None
    fill: str = "toms"
    percussion: float = 0.5
    ghosts: float = 0.0
    open_hat: float = 0.1
    rolls: bool = False
    crash: int = 49
    swing: float = 0.25
    swung: int = 8
    swings: float = 0.08
    sevenths: float = 0.2
    feel: Feel = Feel()


_EIGHTHS = "x.x.x.x.x.x.x.x."
_SIXTEENTHS = "xxxxxxxxxxxxxxxx"
_QUARTERS = "x...x...x...x..."
_OFFBEATS = "..x...x...x...x."
_BACK = "....x.......x..."
_MACHINE = Feel(jitter=0.8)

_ALL = (
    Style(
        name="rock",
        bpm=(96, 152),
        modes=("major", "minor", "mixolydian", "dorian"),
        grooves={
            "4/4": Groove(
                kicks=(
                    "x.......x.o.....",
                    "x.....x.x.....o.",
                    "x..x....x.x.....",
                    "x.x.....xx......",
                ),
                snares=(_BACK, "....x.......x..o"),
                cymbals=((42, _EIGHTHS), (46, _EIGHTHS)),
                weight=9,
            ),
            "6/8": Groove(
                kicks=("x.......o...", "x.....o.....", "x...x......."),
                snares=("......x.....",),
                cymbals=((42, "x.x.x.x.x.x."), (46, "x.x.x.x.x.x.")),
                bpm=(60, 84),
            ),
        },
        kits=(16, 16, 17, 18, 19),
        bass_lines=("eighths", "groove", "groove"),
        bass_programs=(33, 34, 34),
        comps=("strum", "stabs", "strum"),
        comp_programs=(29, 30, 27, 25, 18),
        lead_programs=(30, 29, 27, 18),
        feel=Feel(bass=2.0, jitter=5.0),
    ),
    Style(
        name="ballad",
        bpm=(60, 80),
        modes=("major", "minor", "lydian", "harmonic minor"),
        grooves={
            "4/4": Groove(
                kicks=("x.......x.......", "x.......x.x.....", "x......xx......."),
                snares=(_BACK,),
                cymbals=((42, _EIGHTHS), (51, _EIGHTHS)),
                weight=5,
            ),
            "6/8": Groove(
                kicks=("x...........", "x.........o.", "x...x......."),
                snares=("......x.....",),
                cymbals=((42, "x.x.x.x.x.x."), (51, "x.x.x.x.x.x.")),
                bpm=(60, 72),
                weight=4,
            ),
            "3/4": Groove(
                kicks=("x...........", "x.........o."),
                snares=("....x...x...", "........x..."),
                cymbals=((42, "x.x.x.x.x.x."), (51, "x.x.x.x.x.x.")),
                bpm=(66, 96),
                weight=2,
            ),
        },
        kits=(8, 9, 10, 11, 0),
        bass_lines=("long", "groove"),
        bass_programs=(33, 32, 35),
        comps=("arpeggio", "strum", "quarters"),
        comp_programs=(0, 1, 4, 24, 25),
        lead_programs=(48, 40, 73, 25),
        soft_snare=37,
        sevenths=0.4,
        feel=Feel(drums=2.0, snare=4.0, bass=4.0, jitter=6.0),
    ),
    Style(
        name="brushed jazz",
        bpm=(100, 178),
        modes=("major", "dorian", "minor", "mixolydian"),
        grooves={
            "4/4": Groove(
                kicks=("x.......o.......", "x.....o.........", "x...x...x...x..."),
                snares=("......o.....x.o.", "..o...x.......o.", "...........o..x."),
                cymbals=((51, "x...x.x.x...x.x."), (51, "x...x.x.x...x.x.")),
                percussion=((44, _BACK),),
                weight=3,
            ),
            "3/4": Groove(
                kicks=("x...........", "x.....o....."),
                snares=("......o...x.", "......x...o."),
                cymbals=((51, "x...x.x.x..."), (51, "x...x.x.x.x.")),
                percussion=((44, "....x......."),),
            ),
        },
        kits=(40, 41, 42),
        bass_lines=("walking",),
        bass_programs=(32, 32, 35),
        comps=("charleston", "stabs"),
        comp_programs=(0, 26, 4, 1),
        lead_programs=(66, 65, 56, 26, 11),
        fill="snare",
        percussion=1.0,
        ghosts=0.08,
        crash=51,
        swing=0.33,
        swings=0.95,
        sevenths=1.0,
        feel=Feel(drums=-3.0, snare=3.0, bass=-2.0, other=8.0, jitter=6.0),
    ),
    Style(
        name="bossa nova",
        bpm=(112, 148),
        modes=("major", "minor", "dorian", "lydian"),
        grooves={
            "4/4": Groove(
                kicks=("x.....x.x.....x.", "x.....xxx.....xx"),
                snares=("x..x..x...x..x..", "..x..x..x..x..x."),
                cymbals=((42, _EIGHTHS), (42, _EIGHTHS)),
                percussion=((82, _SIXTEENTHS), (62, "......x.......xo")),
            ),
        },
        kits=(32, 33, 34, 0),
        bass_lines=("bossa",),
        bass_programs=(32, 33, 35),
        comps=("bossa", "charleston"),
        comp_programs=(24, 24, 0, 26),
        lead_programs=(73, 66, 24, 11),
        snare_note=37,
        fill="snare",
        open_hat=0.0,
        percussion=0.3,
        crash=51,
        sevenths=1.0,
        feel=Feel(bass=2.0, other=3.0, jitter=4.0),
    ),
    Style(
        name="funk",
        bpm=(92, 120),
        modes=("dorian", "mixolydian", "minor"),
        grooves={
            "4/4": Groove(
                kicks=(
                    "x..x..x...x..o..",
                    "x.x....x..x...x.",
                    "x..x......xx..o.",
                    "x.....xx..x..x..",
                ),
                snares=("....x..x.x..x..x", "....x..x.o..x..o"),
                cymbals=((42, "x.xxx.xxx.xxx.xx"), (42, "x.xxx.xxx.xxx.xx")),
                percussion=((56, _QUARTERS), (63, "..x..x.....x..x.")),
            ),
        },
        kits=(0, 1, 2, 3),
        bass_lines=("groove", "slap"),
        bass_programs=(36, 37, 33),
        comps=("stabs", "scratch"),
        comp_programs=(27, 28, 7, 16, 61),
        lead_programs=(61, 65, 81, 16),
        percussion=0.35,
        ghosts=0.25,
        open_hat=0.7,
        swing=0.15,
        swung=16,
        swings=0.5,
        sevenths=0.8,
        feel=Feel(snare=2.0, bass=-1.0, jitter=4.0),
    ),
    Style(
        name="soul",
        bpm=(76, 108),
        modes=("major", "dorian", "minor", "mixolydian"),
        grooves={
            "4/4": Groove(
                kicks=("x..x....x.x.....", "x.....x.x..x....", "x..x...xx......."),
                snares=(_BACK, "....x.......x..o"),
                cymbals=((54, _EIGHTHS), (54, _EIGHTHS)),
                percussion=((44, _BACK),),
                weight=3,
            ),
            "6/8": Groove(
                kicks=("x...x.....x.", "x.........x.", "x...x......."),
                snares=("......x.....",),
                cymbals=((54, "x.x.x.x.x.x."), (54, "x.x.x.x.x.x.")),
                percussion=((44, "......x....."),),
                bpm=(60, 80),
            ),
        },
        kits=(12, 13, 14, 15),
        bass_lines=("groove", "walking"),
        bass_programs=(33, 34, 32),
        comps=("quarters", "stabs", "charleston"),
        comp_programs=(4, 5, 16, 27, 1),
        lead_programs=(61, 65, 48, 16),
        percussion=0.95,
        swing=0.2,
        swung=16,
        swings=0.6,
        sevenths=0.8,
        feel=Feel(drums=2.0, snare=6.0, bass=5.0, other=3.0, jitter=5.0),
    ),
    Style(
        name="house",
        bpm=(118, 128),
        modes=("minor", "dorian", "major", "mixolydian"),
        grooves={
            "4/4": Groove(
                kicks=(_QUARTERS,),
                snares=(_BACK, "....x..o....x..o"),
                cymbals=((46, _OFFBEATS), (46, _OFFBEATS)),
                percussion=((82, "..xx..xx..xx..xx"), (63, "..x..x....x.x...")),
            ),
        },
        kits=(24, 24, SYNTHESISED, SYNTHESISED),
        bass_lines=("octaves", "synth"),
        bass_programs=(38, 39, SYNTHESISED),
        comps=("synth stabs", "stabs", "quarters"),
        comp_programs=(90, 81, 4, 0, 62),
        lead_programs=(80, 81, 87),
        snare_note=39,
        fill="clap",
        swing=0.2,
        swung=16,
        swings=0.25,
        sevenths=0.6,
        feel=_MACHINE,
    ),
    Style(
        name="techno",
        bpm=(128, 145),
        modes=("minor", "phrygian", "dorian"),
        grooves={
            "4/4": Groove(
                kicks=(_QUARTERS, "x...x...x...x.o."),
                snares=("................", "............o..."),
                cymbals=((42, "..xx..xx..xx..xx"), (51, "..x...x...x...x.")),
                percussion=(
                    (37, "..x..x....x..x.."),
                    (75, "x..x..x...x.x..."),
                    (41, "...x..x...x..x.."),
                ),
            ),
        },
        kits=(25, 25, SYNTHESISED, SYNTHESISED),
        bass_lines=("synth", "synth", "octaves"),
        bass_programs=(38, 87, SYNTHESISED, SYNTHESISED),
        comps=("arpeggio 16", "synth stabs"),
        comp_programs=(81, 80, 90, 62),
        lead_programs=(81, 80, 87),
        snare_note=39,
        fill="clap",
        percussion=0.95,
        open_hat=0.0,
        swung=16,
        swings=0.05,
        feel=_MACHINE,
    ),
    Style(
        name="hip-hop",
        bpm=(74, 98),
        modes=("minor", "dorian", "phrygian"),
        grooves={
            "4/4": Groove(
                kicks=(
                    "x..x......x.....",
                    "x......x..x..o..",
                    "x.x.......xx....",
                    "x.....o.x.x.....",
                ),
                snares=(_BACK,),
                cymbals=((42, _EIGHTHS), (42, _EIGHTHS)),
                percussion=((70, "..x...x...x...x."), (37, "...x.......x..x.")),
            ),
        },
        kits=(26, 24, SYNTHESISED),
        bass_lines=("groove", "long"),
        bass_programs=(38, 33, 32, SYNTHESISED),
        comps=("quarters", "stabs", "charleston"),
        comp_programs=(4, 0, 11, 5, 46),
        lead_programs=(73, 11, 80, 40),
        snare_note=40,
        fill="snare",
        percussion=0.3,
        open_hat=0.3,
        swing=0.28,
        swung=16,
        swings=0.85,
        sevenths=0.7,
        feel=Feel(drums=0.0, snare=12.0, bass=8.0, other=5.0, jitter=4.0),
    ),
    Style(
        name="drum and bass",
        bpm=(164, 178),
        modes=("minor", "dorian", "phrygian"),
        grooves={
            "4/4": Groove(
                kicks=("x.........x.....", "x.........x.....", "x.o.......x....."),
                snares=("....x..x.x..x...", "....x..o.x..x..o"),
                cymbals=((42, _EIGHTHS), (51, _EIGHTHS)),
            ),
        },
        kits=(4, 5, 24, SYNTHESISED),
        bass_lines=("long", "groove", "synth"),
        bass_programs=(38, 39, SYNTHESISED, SYNTHESISED),
        comps=("synth stabs", "arpeggio", "quarters"),
        comp_programs=(90, 4, 81, 62),
        lead_programs=(80, 81, 87),
        fill="snare",
        ghosts=0.1,
        swung=16,
        swings=0.05,
        sevenths=0.6,
        feel=Feel(jitter=1.5),
    ),
    Style(
        name="reggae",
        bpm=(66, 88),
        modes=("major", "minor", "dorian"),
        grooves={
            "4/4": Groove(
                kicks=("........x.......", "........x.......", "x.......x......."),
                snares=("........x.......", "........x......o"),
                cymbals=((42, _EIGHTHS), (42, "x.xxx.x.x.xxx.x.")),
                percussion=((62, "...x..x....x..x."),),
            ),
        },
        kits=(0, 6, 7, 8),
        bass_lines=("dub",),
        bass_programs=(33, 32, 34),
        comps=("skank",),
        comp_programs=(27, 16, 0, 18),
        lead_programs=(56, 57, 22, 16),
        snare_note=37,
        percussion=0.3,
        open_hat=0.25,
        swing=0.28,
        swings=0.7,
        feel=Feel(drums=2.0, bass=7.0, other=2.0, jitter=4.0),
    ),
    Style(
        name="country",
        bpm=(92, 140),
        modes=("major", "mixolydian"),
        grooves={
            "4/4": Groove(
                kicks=("x.......x.......", "x.......x.....o."),
                snares=(_BACK,),
                cymbals=((38, "o.xxo.xxo.xxo.xx"), (38, "x.xxx.xxx.xxx.xx")),
                percussion=((54, _BACK),),
                weight=3,
            ),
            "3/4": Groove(
                kicks=("x...........",),
                snares=("....x...x...",),
                cymbals=((38, "..x.x.xxx.xx"), (38, "x.x.x.xxx.xx")),
                bpm=(96, 138),
            ),
        },
        kits=(0, 1, 8),
        bass_lines=("two-beat", "two-beat", "walking"),
        bass_programs=(32, 33, 32),
        comps=("boom-chuck", "strum"),
        comp_programs=(25, 105, 25, 0),
        lead_programs=(25, 110, 105, 22),
        fill="snare",
        percussion=0.2,
        swing=0.15,
        swings=0.3,
        feel=Feel(drums=-1.0, bass=0.0, jitter=5.0),
    ),
    Style(
        name="disco",
        bpm=(108, 128),
        modes=("minor", "major", "dorian", "harmonic minor"),
        grooves={
            "4/4": Groove(
                kicks=(_QUARTERS,),
                snares=(_BACK, "....x.......x..o"),
                cymbals=((42, "xx.xxx.xxx.xxx.x"), (42, "xx.xxx.xxx.xxx.x")),
                percussion=((46, _OFFBEATS),),
            ),
        },
        kits=(0, 2, 3, 7),
        bass_lines=("octaves", "slap", "groove"),
        bass_programs=(33, 36, 34),
        comps=("scratch", "stabs", "quarters"),
        comp_programs=(27, 28, 48, 7, 1),
        lead_programs=(48, 61, 81),
        percussion=1.0,
        open_hat=0.0,
        swung=16,
        swings=0.05,
        sevenths=0.6,
        feel=Feel(jitter=3.0),
    ),
    Style(
        name="trap",
        bpm=(128, 150),
        modes=("minor", "phrygian", "harmonic minor"),
        grooves={
            "4/4": Groove(
                kicks=("x.....x...x.....", "x..x......x..o..", "x.........xo..x."),
                snares=("........x.......",),
                cymbals=((42, "x.x.x.x.x.x.x.x."), (42, "x.x.x.x.x.x.x.x.")),
                percussion=((37, "...x..........x."), (46, "......x.........")),
            ),
        },
        kits=(25, 25, 25, SYNTHESISED),
        bass_lines=("long", "groove"),
        bass_programs=(39, 38, SYNTHESISED, SYNTHESISED),
        comps=("arpeggio", "quarters"),
        comp_programs=(11, 46, 4, 88, 10),
        lead_programs=(73, 80, 11),
        snare_note=39,
        fill="rolls",
        open_hat=0.0,
        rolls=True,
        swung=16,
        swings=0.05,
        feel=_MACHINE,
    ),
    Style(
        name="film",
        bpm=(60, 140),
        modes=("minor", "harmonic minor", "lydian", "phrygian", "major"),
        grooves={
            "4/4": Groove(
                kicks=("x.......x.......", "x.....x...x.....", "x..x..x...x....."),
                snares=("............o...", "................"),
                cymbals=((41, "x.x.x.x.x.x.x.x."), (41, "x..x..x.x..x..x.")),
                weight=4,
            ),
            "3/4": Groove(
                kicks=("x...........", "x.......x..."),
                snares=("............", "........o..."),
                cymbals=((41, "x.x.x.x.x.x."), (41, "x...x.x.x.x.")),
                weight=3,
            ),
            "6/8": Groove(
                kicks=("x.....x.....", "x.........x."),
                snares=("............", "..........o."),
                cymbals=((41, "x.x.x.x.x.x."), (41, "x...x.x...x.")),
                bpm=(60, 110),
                weight=3,
            ),
        },
        kits=(48,),
        bass_lines=("long", "groove", "eighths"),
        bass_programs=(43, 43, 42, 32),
        comps=("ostinato", "sustained", "arpeggio"),
        comp_programs=(45, 46, 0, 45, 48),
        lead_programs=(60, 40, 68, 73, 61),
        fill="timpani",
        percussion=0.0,
        open_hat=0.0,
        crash=57,
        swings=0.0,
        feel=Feel(other=4.0, jitter=7.0),
    ),
    Style(
        name="waltz",
        bpm=(96, 180),
        modes=("major", "minor", "harmonic minor"),
        grooves={
            "3/4": Groove(
                kicks=("x...........",),
                snares=("....x...x...", "....x...x..."),
                cymbals=((44, "....x...x..."), (44, "....x...x...")),
                percussion=((81, "x..........."),),
            ),
        },
        kits=(32, 0, 35, 36),
        bass_lines=("waltz", "waltz", "walking"),
        bass_programs=(32, 32, 43, 58),
        comps=("boom-chuck", "quarters", "arpeggio"),
        comp_programs=(21, 0, 24, 0, 46),
        lead_programs=(40, 21, 71, 73, 22),
        fill="snare",
        percussion=0.15,
        open_hat=0.0,
        crash=57,
        swings=0.0,
        feel=Feel(snare=-3.0, other=2.0, jitter=6.0),
    ),
    Style(
        name="afrobeat",
        bpm=(98, 126),
        modes=("dorian", "minor", "mixolydian"),
        grooves={
            "4/4": Groove(
                kicks=("x..x..x..x.x....", "x.....x..x.x..o.", "x..x....x.xx...."),
                snares=("....x.....x..x..", "...x..x.....x.x."),
                cymbals=((42, "x.xxx.xxx.xxx.x."), (46, _OFFBEATS)),
                percussion=((75, "x..x..x...x.x..."), (70, _SIXTEENTHS), (64, "..x..xx...x..xx.")),
            ),
            "6/8": Groove(
                kicks=("x.......x...", "x...x...x..."),
                snares=("..x...x...x.", "....x...x..."),
                cymbals=((42, "x.xxx.x.xxx."), (51, "x.x.x.x.x.x.")),
                percussion=((56, "x.x.xx.x.x.x"), (70, "xxxxxxxxxxxx"), (64, "..x.x...x.x.")),
                bpm=(84, 126),
            ),
        },
        kits=(0, 1, 32, 33),
        bass_lines=("groove", "slap"),
        bass_programs=(33, 34, 32),
        comps=("stabs", "scratch", "arpeggio"),
        comp_programs=(27, 28, 61, 16, 4),
        lead_programs=(61, 65, 16, 67),
        percussion=0.95,
        ghosts=0.1,
        open_hat=0.3,
        swung=16,
        swing=0.12,
        swings=0.2,
        sevenths=0.7,
        feel=Feel(bass=3.0, jitter=4.0),
    ),
)

HELD_OUT_STYLE = "afrobeat"
"""No model of this repository is trained on it."""

BY_NAME: dict[str, Style] = {style.name: style for style in _ALL}
STYLES: tuple[str, ...] = tuple(name for name in BY_NAME if name != HELD_OUT_STYLE)

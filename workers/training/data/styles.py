"""The styles that pieces are composed in: tempo, groove, instruments. Tables only, no decisions.

Drum patterns are written as 16 characters, one a sixteenth note of a 4/4 bar:
``x`` always sounds, ``o`` sounds with probability 0.5, ``.`` never sounds. Programs are General
MIDI numbers from 0; drum kits are the General MIDI level 2 kits of bank 128 (0 standard, 8 room, 16
power, 24 electronic, 25 TR-808, 32 jazz, 40 brush); -1 names the kit of ``drum_synthesis``.
"""

from dataclasses import dataclass

SYNTHESISED_KIT = -1


@dataclass(frozen=True)
class Style:
    """One style.

    Attributes:
        name: as a listener writes it.
        bpm: lowest and highest tempo, beats a minute.
        modes: the modes a piece may be in.
        swing: delay of the off-beat, 0 straight to 1/3 full triplet.
        swung: which subdivision swings, 8 or 16.
        kicks: groove patterns; the kick plays one and the bass follows its onsets.
        snares: back-beat patterns.
        cymbals: time-keeping patterns as (MIDI drum note, pattern).
        percussion: optional extra layers as (MIDI drum note, pattern).
        snare_note: MIDI drum note that plays the back-beat.
        kits: drum kits to choose from.
        bass_lines: names understood by ``players.bass``.
        bass_programs: General MIDI programs of the bass.
        comps: names understood by ``players.comp``.
        comp_programs: General MIDI programs of the accompaniment.
        lead_programs: General MIDI programs of the instrumental melody.
        sevenths: probability that the chords of the piece are seventh chords.
    """

    name: str
    bpm: tuple[int, int]
    modes: tuple[str, ...]
    kicks: tuple[str, ...]
    snares: tuple[str, ...]
    cymbals: tuple[tuple[int, str], ...]
    kits: tuple[int, ...]
    bass_lines: tuple[str, ...]
    bass_programs: tuple[int, ...]
    comps: tuple[str, ...]
    comp_programs: tuple[int, ...]
    lead_programs: tuple[int, ...]
    percussion: tuple[tuple[int, str], ...] = ()
    snare_note: int = 38
    swing: float = 0.0
    swung: int = 8
    sevenths: float = 0.2


_EIGHTHS = "x.x.x.x.x.x.x.x."
_SIXTEENTHS = "xxxxxxxxxxxxxxxx"
_QUARTERS = "x...x...x...x..."
_OFFBEATS = "..x...x...x...x."

_ALL = (
    Style(
        name="rock",
        bpm=(96, 144),
        modes=("major", "minor", "mixolydian"),
        kicks=("x.......x.o.....", "x.....x.x.....o.", "x..x....x.x.....", "x.x.....xx......"),
        snares=("....x.......x...", "....x.......x..o"),
        cymbals=((42, _EIGHTHS), (46, _QUARTERS), (51, _EIGHTHS)),
        kits=(0, 8, 16, 16),
        bass_lines=("eighths", "groove", "groove"),
        bass_programs=(33, 34, 34),
        comps=("strum", "stabs", "strum"),
        comp_programs=(29, 30, 27, 25, 18),
        lead_programs=(30, 29, 27, 18),
    ),
    Style(
        name="ballad",
        bpm=(62, 84),
        modes=("major", "minor"),
        kicks=("x.......x.......", "x.......x.x.....", "x......xx......."),
        snares=("....x.......x...",),
        cymbals=((42, _EIGHTHS), (51, _EIGHTHS), (42, _SIXTEENTHS)),
        kits=(0, 8, 0),
        bass_lines=("long", "groove"),
        bass_programs=(33, 32, 35),
        comps=("arpeggio", "strum", "quarters"),
        comp_programs=(0, 1, 4, 24, 25),
        lead_programs=(48, 40, 73, 25),
        sevenths=0.4,
    ),
    Style(
        name="brushed jazz",
        bpm=(100, 168),
        modes=("major", "dorian", "minor"),
        kicks=("x.......o.......", "x.....o.........", "x...x...x...x..."),
        snares=("....x.......x...", "......o.....x.o."),
        cymbals=((51, "x...x.x.x...x.x."), (51, "x...x..xx...x..x")),
        percussion=((44, "....x.......x..."),),
        kits=(40, 32),
        bass_lines=("walking",),
        bass_programs=(32, 32, 32),
        comps=("charleston", "stabs"),
        comp_programs=(0, 26, 4, 1),
        lead_programs=(66, 65, 56, 26, 11),
        swing=0.33,
        sevenths=1.0,
    ),
    Style(
        name="bossa nova",
        bpm=(112, 148),
        modes=("major", "minor", "dorian"),
        kicks=("x..x....x..x....", "x.....x.x.....x."),
        snares=("x..x..x...x..x..", "..x..x..x..x..x."),
        cymbals=((42, _EIGHTHS), (82, _SIXTEENTHS), (51, _EIGHTHS)),
        percussion=((62, "......x.......xo"),),
        snare_note=37,
        kits=(0, 40, 32),
        bass_lines=("bossa",),
        bass_programs=(32, 33),
        comps=("bossa", "charleston"),
        comp_programs=(24, 24, 0, 26),
        lead_programs=(73, 66, 24, 11),
        sevenths=1.0,
    ),
    Style(
        name="funk",
        bpm=(92, 120),
        modes=("dorian", "mixolydian", "minor"),
        kicks=("x..x..x...x..o..", "x.x....x..x...x.", "x..x......xx..o.", "x.....xx..x..x.."),
        snares=("....x..o.o..x...", "....x.......x..o"),
        cymbals=((42, _SIXTEENTHS), (42, _EIGHTHS), (42, "x.xxx.xxx.xxx.xx")),
        percussion=((54, "....x.......x..."), (63, "..x..x.....x..x.")),
        kits=(0, 8, 16),
        bass_lines=("groove", "slap"),
        bass_programs=(36, 37, 33),
        comps=("stabs", "scratch"),
        comp_programs=(27, 28, 7, 16, 61),
        lead_programs=(61, 65, 81, 16),
        swing=0.12,
        swung=16,
        sevenths=0.8,
    ),
    Style(
        name="soul",
        bpm=(76, 108),
        modes=("major", "dorian", "minor"),
        kicks=("x..x....x.x.....", "x.....x.x..x....", "x..x...xx......."),
        snares=("....x.......x...", "....x.......x..o"),
        cymbals=((42, _EIGHTHS), (42, "x.xxx.xxx.xxx.xx")),
        percussion=((54, _QUARTERS),),
        kits=(0, 8, 32),
        bass_lines=("groove", "walking"),
        bass_programs=(33, 34, 32),
        comps=("quarters", "stabs", "charleston"),
        comp_programs=(4, 5, 16, 27, 1),
        lead_programs=(61, 65, 48, 16),
        swing=0.16,
        swung=16,
        sevenths=0.8,
    ),
    Style(
        name="house",
        bpm=(118, 128),
        modes=("minor", "dorian", "major"),
        kicks=("x...x...x...x...",),
        snares=("....x.......x...", "....x..o....x..o"),
        cymbals=((46, _OFFBEATS), (42, _SIXTEENTHS), (42, _OFFBEATS)),
        percussion=((82, _SIXTEENTHS), (56, "...x..x....x..x."), (63, "..x..x....x.x...")),
        snare_note=39,
        kits=(24, 25, SYNTHESISED_KIT, SYNTHESISED_KIT),
        bass_lines=("octaves", "synth"),
        bass_programs=(38, 39, 38),
        comps=("synth stabs", "stabs", "quarters"),
        comp_programs=(90, 81, 4, 0, 62),
        lead_programs=(80, 81, 87),
        sevenths=0.6,
    ),
    Style(
        name="techno",
        bpm=(126, 140),
        modes=("minor", "dorian"),
        kicks=("x...x...x...x...", "x...x...x...x.o."),
        snares=("............x...", "....x.......x..."),
        cymbals=((46, _OFFBEATS), (42, _SIXTEENTHS)),
        percussion=((37, "..x..x....x..x.."), (75, "x..x..x...x.x...")),
        snare_note=39,
        kits=(24, 25, SYNTHESISED_KIT, SYNTHESISED_KIT),
        bass_lines=("synth", "octaves"),
        bass_programs=(38, 39, 87),
        comps=("arpeggio 16", "synth stabs"),
        comp_programs=(81, 80, 90, 62),
        lead_programs=(81, 80, 87),
    ),
    Style(
        name="hip-hop",
        bpm=(78, 98),
        modes=("minor", "dorian"),
        kicks=("x..x......x.....", "x......x..x..o..", "x.x.......xx....", "x.....o.x.x....."),
        snares=("....x.......x...", "....x..o....x..."),
        cymbals=((42, _EIGHTHS), (42, "x.xxx.x.x.xxx.x."), (42, _SIXTEENTHS)),
        percussion=((54, _QUARTERS),),
        kits=(25, 8, 24, SYNTHESISED_KIT),
        bass_lines=("groove", "long"),
        bass_programs=(38, 33, 39, 32),
        comps=("quarters", "stabs", "charleston"),
        comp_programs=(4, 0, 11, 5, 46),
        lead_programs=(73, 11, 80, 40),
        swing=0.2,
        swung=16,
        sevenths=0.7,
    ),
    Style(
        name="drum and bass",
        bpm=(164, 176),
        modes=("minor", "dorian"),
        kicks=("x.........x.....", "x.x.......x.....", "x......o..x....."),
        snares=("....x.......x...", "....x..o.o..x..."),
        cymbals=((42, _EIGHTHS), (51, _EIGHTHS), (42, "x.xxx.x.x.xxx.x.")),
        kits=(0, 16, 24, SYNTHESISED_KIT),
        bass_lines=("long", "groove", "synth"),
        bass_programs=(38, 39, 87),
        comps=("synth stabs", "arpeggio", "quarters"),
        comp_programs=(90, 4, 81, 62),
        lead_programs=(80, 81, 87),
        sevenths=0.6,
    ),
    Style(
        name="reggae",
        bpm=(66, 88),
        modes=("major", "minor", "dorian"),
        kicks=("........x.......", "x.......x.......", "x...x...x...x..."),
        snares=("........x.......", "....o...x.......", "........x......o"),
        cymbals=((42, _EIGHTHS), (42, "x.xxx.xxx.xxx.xx")),
        percussion=((54, _OFFBEATS), (62, "...x..x....x..x.")),
        snare_note=37,
        kits=(0, 8),
        bass_lines=("dub",),
        bass_programs=(33, 32, 34),
        comps=("skank",),
        comp_programs=(27, 16, 0, 18),
        lead_programs=(56, 57, 22, 16),
        swing=0.15,
    ),
    Style(
        name="country",
        bpm=(92, 132),
        modes=("major", "mixolydian"),
        kicks=("x.......x.......", "x.......x.....o.", "x.....o.x......."),
        snares=("....x.......x...",),
        cymbals=((38, "o.xoo.xoo.xoo.xo"), (42, _EIGHTHS), (42, _EIGHTHS)),
        kits=(0, 8, 40),
        bass_lines=("two-beat", "walking"),
        bass_programs=(32, 33, 32),
        comps=("boom-chuck", "strum"),
        comp_programs=(25, 105, 25, 0),
        lead_programs=(25, 110, 105, 22),
        swing=0.1,
    ),
    Style(
        name="disco",
        bpm=(108, 126),
        modes=("minor", "major", "dorian"),
        kicks=("x...x...x...x...",),
        snares=("....x.......x...", "....x.......x..o"),
        cymbals=((46, _OFFBEATS), (42, "x.x.x.x.x.x.x.x."), (42, "xxx.xxx.xxx.xxx.")),
        percussion=((54, _EIGHTHS), (63, "..x..x....x.x...")),
        kits=(0, 8, 16),
        bass_lines=("octaves", "slap", "groove"),
        bass_programs=(33, 36, 34),
        comps=("scratch", "stabs", "quarters"),
        comp_programs=(27, 28, 48, 7, 1),
        lead_programs=(48, 61, 81),
        sevenths=0.6,
    ),
    Style(
        name="trap",
        bpm=(132, 150),
        modes=("minor", "dorian"),
        kicks=("x.....x...x.....", "x..x......x..o..", "x.........xo..x."),
        snares=("........x.......", "........x.....o."),
        cymbals=((42, "x.x.x.xxx.x.x.x."), (42, "x.xxx.x.x.x.xxxx"), (42, _EIGHTHS)),
        percussion=((37, "...x..........x."),),
        snare_note=39,
        kits=(25, 25, SYNTHESISED_KIT, SYNTHESISED_KIT),
        bass_lines=("long", "groove"),
        bass_programs=(39, 38, 33),
        comps=("arpeggio", "quarters"),
        comp_programs=(11, 46, 4, 88, 10),
        lead_programs=(73, 80, 11),
    ),
)

BY_NAME: dict[str, Style] = {style.name: style for style in _ALL}
STYLES: tuple[str, ...] = tuple(BY_NAME)

"""The bass codec: a pitch on a quarter-tone grid, timbre codes, and a harmonic-plus-noise
synthesiser.

After DDSP (Engel et al. 2020, arXiv:2001.04643). A codec without a notion of pitch loses a bass
line's notes at this size; here pitch is the first codebook, and cannot be lost.
"""

import math
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .interface import Codec
from .layers import convnext, fold_frames, overlap_add, spectrum, unfold_frames
from .pitch import PitchGrid, PitchReader, held
from .quantiser import dequantise, quantise

FIELD_OF_VIEW = 16
"""Frames to either side that a frame's levels may depend on; the sizes below need 9."""


@dataclass(frozen=True)
class BassCodecConfig:
    """Sizes of a bass codec. `hop` and `window` are in samples, of the fine (sub-frame) grid.

    `codebooks` counts the pitch and the timbre codebooks together; `lowest` is a MIDI note number.
    """

    sample_rate: int = 16_000
    hop: int = 80
    window: int = 320
    subframes: int = 4
    codebooks: int = 2
    codebook_size: int = 256
    latent: int = 32
    lowest: float = 24.0
    pitches: int = 96
    pitch_window: int = 2048
    harmonics: int = 64
    noise_bands: int = 41
    read_channels: int = 64
    channels: int = 160
    encoder_blocks: int = 2
    decoder_blocks: int = 3
    write_channels: int = 96


class BassCodec(Codec):
    """Codec for bass: codebook 0 is the pitch (`PitchGrid`), the rest timbre and level."""

    encoding = (
        "pitch",
        "read_magnitude",
        "read",
        "gather",
        "encoder",
        "to_latent",
        "tables",
    )
    margin = FIELD_OF_VIEW
    # The phase of a tone goes on from where it was.
    remembers = True
    window: Tensor
    tables: Tensor

    def __init__(self, sizes: BassCodecConfig = BassCodecConfig()) -> None:
        super().__init__()
        self.sizes = sizes
        self.sample_rate = sizes.sample_rate
        self.frame_rate = sizes.sample_rate / (sizes.hop * sizes.subframes)
        self.codebooks = sizes.codebooks
        self.codebook_size = sizes.codebook_size
        self.grid = PitchGrid(sizes.lowest, sizes.pitches)
        bins = sizes.window // 2 + 1
        self.register_buffer("window", torch.hann_window(sizes.window), persistent=False)
        self.register_buffer(
            "tables", torch.zeros(sizes.codebooks - 1, sizes.codebook_size, sizes.latent)
        )
        self.pitch = PitchReader(
            self.grid, sizes.sample_rate, sizes.hop * sizes.subframes, sizes.pitch_window
        )
        self.read_magnitude = nn.Linear(bins, sizes.read_channels)
        self.read = convnext(sizes.read_channels, 1, kernel=7)
        self.gather = nn.Linear(sizes.read_channels * sizes.subframes, sizes.channels)
        self.encoder = convnext(sizes.channels, sizes.encoder_blocks, kernel=3)
        self.to_latent = nn.Sequential(
            nn.LayerNorm(sizes.channels), nn.Linear(sizes.channels, sizes.latent)
        )
        self.from_latent = nn.Linear(sizes.latent, sizes.channels)
        self.from_pitch = nn.Embedding(sizes.pitches + 1, sizes.channels)
        self.decoder = convnext(sizes.channels, sizes.decoder_blocks, kernel=5)
        self.spread = nn.Linear(sizes.channels, sizes.write_channels * sizes.subframes)
        self.write = convnext(sizes.write_channels, 1, kernel=7)
        self.head = nn.Sequential(
            nn.LayerNorm(sizes.write_channels),
            nn.Linear(sizes.write_channels, sizes.harmonics + sizes.noise_bands),
        )

    def config(self) -> dict[str, object]:
        """What `load_codec` builds this codec from."""
        return {"codec": "bass", **asdict(self.sizes)}

    def analyse(self, waveform: Tensor) -> Tensor:
        """float [B, 1, F * hop] to the timbre latent before quantisation, float [B, F, D]."""
        magnitude = spectrum(waveform[:, 0], self.window, self.sizes.hop).abs()
        y = self.read(self.read_magnitude(torch.log(magnitude + 1e-3)))
        y = self.gather(fold_frames(y, self.sizes.subframes))
        return self.to_latent(self.encoder(y))

    def synthesise(self, pitch: Tensor, latent: Tensor) -> Tensor:
        """Pitch codes int64 [B, F] and timbre float [B, F, D] to audio, float [B, 1, F * hop]."""
        sizes = self.sizes
        voiced = self.grid.voiced(pitch)
        pitch = torch.where(voiced, pitch, 0)
        y = self.decoder(self.from_latent(latent) + self.from_pitch(pitch))
        y = self.head(self.write(unfold_frames(self.spread(y), sizes.subframes))).float()
        # The exponentiated sigmoid of the DDSP paper, section B.5.
        level = 2 * torch.sigmoid(y) ** math.log(10) + 1e-7
        harmonics, noise = level.split([sizes.harmonics, sizes.noise_bands], dim=-1)
        frequency = held(self.grid.frequency(pitch), voiced)
        harmonics = harmonics * voiced.repeat_interleave(sizes.subframes, 1)[..., None]
        made = self._harmonic(frequency, harmonics / 4) + self._noise(noise / 4)
        return made[:, None]

    def _harmonic(self, frequency: Tensor, levels: Tensor) -> Tensor:
        """Sum of sines: Hz [B, F], amplitudes [B, F * subframes, H] -> [B, T]."""
        hop = self.hop
        step = frequency.double() / self.sample_rate
        start = torch.cumsum(step * hop, 1) - step * hop
        within = torch.arange(hop, device=step.device, dtype=torch.float64)
        # Whole turns are dropped in double precision, or the upper harmonics would drift.
        turns = ((start[..., None] + step[..., None] * within) % 1.0).flatten(1).float()
        index = torch.arange(1, self.sizes.harmonics + 1, device=step.device)
        audible = frequency[..., None] * index < 0.48 * self.sample_rate
        levels = levels * audible.repeat_interleave(self.sizes.subframes, 1)
        total = torch.zeros_like(turns)
        # A few harmonics at a time bound the memory that a long stem takes.
        group = 16 if self.training else 4
        for first in range(0, self.sizes.harmonics, group):
            some = slice(first, first + group)
            waves = torch.sin(2 * math.pi * turns[:, None] * index[some, None])
            curve = F.interpolate(
                levels[..., some].transpose(1, 2), scale_factor=self.sizes.hop, mode="linear"
            )
            total = total + (waves * curve).sum(1)
        return total

    def _noise(self, levels: Tensor) -> Tensor:
        """Filtered noise, the same each time: levels [B, F * subframes, N] -> [B, T]."""
        length = levels.shape[1] * self.sizes.hop
        source = None if self.training else torch.Generator().manual_seed(0)
        noise = torch.randn(1, length, generator=source).to(levels.device)
        coloured = spectrum(noise, self.window, self.sizes.hop) * F.interpolate(
            levels, size=self.sizes.window // 2 + 1, mode="linear", align_corners=True
        )
        return overlap_add(torch.fft.irfft(coloured), self.window, self.sizes.hop)

    def _encode(self, waveform: Tensor) -> Tensor:
        pitch = self.pitch.read(waveform[:, 0])
        return torch.cat([pitch[:, None], quantise(self.analyse(waveform), self.tables)], 1)

    def _decode(self, codes: Tensor) -> Tensor:
        if codes.shape[1] == 1:
            # Pitch alone: the mean timbre.
            latent = self.tables[0].mean(0).expand(*codes[:, 0].shape, -1)
        else:
            latent = dequantise(codes[:, 1:], self.tables)
        return self.synthesise(codes[:, 0], latent)

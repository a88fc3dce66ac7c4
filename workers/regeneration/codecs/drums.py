"""The drum codec: ConvNeXt blocks, residual vector quantisation and an inverse-STFT head.

After Vocos (Siuzdak 2023, arXiv:2306.00814), with one change for drums: the network runs at the
code rate, 50 Hz, but reads and writes spectra four times as often, with 20 ms windows, so that an
attack is placed within a frame and not only on one.

A 20 ms window cannot tell the low partials of a kick or a tom apart, and their phases, drawn anew
every 5 ms, make noise where a tail should fade. So the range below `low_bins` is read and written
through longer windows by a head of its own.
"""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from .interface import Codec
from .layers import (
    convnext,
    fold_frames,
    frames_of,
    in_chunks,
    overlap_add,
    spectrum,
    unfold_frames,
)
from .quantiser import dequantise, quantise

FIELD_OF_VIEW = 32
"""Frames to either side that a frame may depend on; the sizes below need 14."""


@dataclass(frozen=True)
class DrumCodecConfig:
    """Sizes of a drum codec. `hop` and `window` are in samples, of the fine (sub-frame) grid.

    `low_window` and `low_hop` are those of the low range, which has `low_bins` bins; 0 bins: the
    fine grid serves all frequencies.
    """

    sample_rate: int = 32_000
    hop: int = 160
    window: int = 640
    subframes: int = 4
    codebooks: int = 2
    codebook_size: int = 1024
    latent: int = 64
    read_channels: int = 96
    encoder_channels: int = 160
    encoder_blocks: int = 2
    decoder_channels: int = 224
    decoder_blocks: int = 3
    write_channels: int = 128
    write_blocks: int = 2
    low_hop: int = 320
    low_window: int = 1280
    low_bins: int = 0


class DrumCodec(Codec):
    """Codec for drum stems; see `Codec` for the interface and `DrumCodecConfig` for its sizes."""

    encoding = (
        "read_magnitude",
        "read_wave",
        "read_low",
        "read",
        "gather",
        "encoder",
        "to_latent",
        "tables",
    )
    margin = FIELD_OF_VIEW
    window: Tensor
    low_window: Tensor
    audible: Tensor
    tables: Tensor

    def __init__(self, sizes: DrumCodecConfig = DrumCodecConfig()) -> None:
        super().__init__()
        self.sizes = sizes
        self.sample_rate = sizes.sample_rate
        self.frame_rate = sizes.sample_rate / (sizes.hop * sizes.subframes)
        self.codebooks = sizes.codebooks
        self.codebook_size = sizes.codebook_size
        bins = sizes.window // 2 + 1
        self.register_buffer("window", torch.hann_window(sizes.window), persistent=False)
        self.register_buffer("low_window", torch.hann_window(sizes.low_window), persistent=False)
        self.register_buffer("audible", _audible(sizes), persistent=False)
        self.register_buffer(
            "tables", torch.zeros(sizes.codebooks, sizes.codebook_size, sizes.latent)
        )
        # Magnitudes say what sounds; the short waveform patch says at which sample, and in which
        # phase.
        self.read_magnitude = nn.Linear(bins, sizes.read_channels)
        self.read_wave = nn.Linear(2 * sizes.hop, sizes.read_channels)
        self.read = convnext(sizes.read_channels, 1, kernel=7)
        self.gather = nn.Linear(sizes.read_channels * sizes.subframes, sizes.encoder_channels)
        # Short kernels: a code depends on about 100 ms of sound, which keeps it easy to predict
        # and to edit.
        self.encoder = convnext(sizes.encoder_channels, sizes.encoder_blocks, kernel=3)
        self.to_latent = nn.Sequential(
            nn.LayerNorm(sizes.encoder_channels), nn.Linear(sizes.encoder_channels, sizes.latent)
        )
        self.from_latent = nn.Conv1d(sizes.latent, sizes.decoder_channels, 3, padding=1)
        self.decoder = convnext(sizes.decoder_channels, sizes.decoder_blocks, kernel=7)
        self.spread = nn.Linear(sizes.decoder_channels, sizes.write_channels * sizes.subframes)
        self.write = convnext(sizes.write_channels, sizes.write_blocks, kernel=7)
        self.head = nn.Sequential(
            nn.LayerNorm(sizes.write_channels), nn.Linear(sizes.write_channels, 2 * bins)
        )
        self.low_per_frame = sizes.hop * sizes.subframes // sizes.low_hop
        if sizes.low_bins:
            low = self.low_per_frame * sizes.low_bins
            self.read_low = nn.Linear(low, sizes.encoder_channels)
            self.low_head = nn.Sequential(
                nn.LayerNorm(sizes.decoder_channels), nn.Linear(sizes.decoder_channels, 2 * low)
            )

    def config(self) -> dict[str, object]:
        """What `load_codec` builds this codec from."""
        return {"codec": "drums", **asdict(self.sizes)}

    def analyse(self, waveform: Tensor) -> Tensor:
        """float [B, 1, F * hop] to the latent before quantisation, float [B, F, D]."""
        hop = self.sizes.hop
        x = waveform[:, 0]
        magnitude = spectrum(x, self.window, hop).abs()
        patches = frames_of(x, 2 * hop, hop)
        y = self.read_magnitude(torch.log(magnitude + 1e-3)) + self.read_wave(4 * patches)
        y = self.gather(fold_frames(self.read(y), self.sizes.subframes))
        if self.sizes.low_bins:
            low = spectrum(x, self.low_window, self.sizes.low_hop)[..., : self.sizes.low_bins]
            seen = torch.log(low.abs() + 1e-3)
            y = y + self.read_low(fold_frames(seen, self.low_per_frame))
        return self.to_latent(self.encoder(y))

    def synthesise(self, latent: Tensor) -> Tensor:
        """float [B, F, D] to audio, float [B, 1, F * hop]."""
        y = self.from_latent(latent.transpose(1, 2)).transpose(1, 2)
        decoded = self.decoder(y)
        y = unfold_frames(self.spread(decoded), self.sizes.subframes)
        fine = _polar(self.head(self.write(y))) * self.audible
        made = overlap_add(torch.fft.irfft(fine), self.window, self.sizes.hop)
        if self.sizes.low_bins:
            low = _polar(unfold_frames(self.low_head(decoded), self.low_per_frame))
            frames = torch.fft.irfft(low, n=self.sizes.low_window)
            made = made + overlap_add(frames, self.low_window, self.sizes.low_hop)
        return made[:, None]

    def _encode(self, waveform: Tensor) -> Tensor:
        latent = in_chunks(
            lambda x: self.analyse(x[:, None]), waveform[:, 0], self.hop, FIELD_OF_VIEW
        )
        return quantise(latent, self.tables)

    def _decode(self, codes: Tensor) -> Tensor:
        latent = dequantise(codes, self.tables)
        made = in_chunks(lambda z: self.synthesise(z)[:, 0], latent, 1, FIELD_OF_VIEW)
        return made[:, None]


def _polar(y: Tensor) -> Tensor:
    """Log-magnitudes beside phases, float [..., 2 * N], to complex [..., N]."""
    level, phase = y.float().chunk(2, dim=-1)
    return torch.polar(level.exp().clamp(max=1e3), phase)


def _audible(sizes: DrumCodecConfig) -> Tensor:
    """Which bins of the fine grid sound: those past the low range, float [bins]."""
    bins = torch.arange(sizes.window // 2 + 1) / sizes.window
    edge = (sizes.low_bins - 0.5) / sizes.low_window if sizes.low_bins else 0.0
    # The bin at the edge itself belongs to both: windows overlap in frequency, too.
    return (bins > edge - 1 / sizes.window).float()

"""Which pitch a bass plays in each frame, and the quarter-tone grid on which it is written down."""

import torch
from torch import Tensor, nn

from .layers import frames_of, in_chunks

UNVOICED = 0
"""The pitch code of a frame without a pitch."""


class PitchGrid:
    """Quarter tones from `lowest` (a MIDI note number) up; code 0 is unvoiced, 1 `lowest`."""

    def __init__(self, lowest: float, pitches: int) -> None:
        self.lowest = lowest
        self.pitches = pitches

    def code(self, pitch: Tensor) -> Tensor:
        """MIDI note numbers, fractions allowed, to the nearest codes, int64."""
        return ((pitch - self.lowest) * 2).round().long().clamp(0, self.pitches - 1) + 1

    def pitch(self, code: Tensor) -> Tensor:
        """Codes of voiced frames to MIDI note numbers, float32."""
        return self.lowest + (code - 1).float() / 2

    def frequency(self, code: Tensor) -> Tensor:
        """Codes of voiced frames to Hz (A4 = 440 Hz), float32."""
        # In double precision: the last bit of a single one depends on how many codes there are,
        # and the phases of a tone add it up.
        return (440.0 * torch.exp2((self.pitch(code).double() - 69) / 12)).float()

    def voiced(self, code: Tensor) -> Tensor:
        """bool: codes past the grid's end, which a sampler may draw, count as unvoiced too."""
        return (code > UNVOICED) & (code <= self.pitches)


class PitchReader(nn.Module):
    """Scores every pitch of a grid in every frame.

    Sees the autocorrelation at each candidate's period and the spectrum at its first harmonics
    (after the harmonic CQT of Bittner et al. 2017), and convolves over time and pitch, so that
    what it learns at one pitch holds at all: quarter tones need not occur in the training data.
    """

    window: Tensor
    lags: Tensor
    bins: Tensor
    window_correlation: Tensor

    def __init__(
        self, grid: PitchGrid, sample_rate: int, hop: int, window: int, channels: int = 16
    ) -> None:
        super().__init__()
        self.hop, self.size, self.harmonics = hop, window, 6
        self.padded = 4 * window
        taper = torch.hann_window(window)
        correlation = torch.fft.irfft(torch.fft.rfft(taper, self.padded).abs() ** 2)
        frequency = grid.frequency(torch.arange(1, grid.pitches + 1))
        harmonic = torch.arange(1, self.harmonics + 1)[:, None] * frequency
        self.register_buffer("window", taper, persistent=False)
        self.register_buffer("lags", sample_rate / frequency, persistent=False)
        self.register_buffer("bins", harmonic * self.padded / sample_rate, persistent=False)
        self.register_buffer(
            "window_correlation", correlation[: window // 2] / correlation[0], persistent=False
        )
        self.layers = nn.Sequential(
            nn.Conv2d(self.harmonics + 2, channels, (3, 5), padding=(1, 2)),
            nn.GELU(),
            nn.Conv2d(channels, channels, (3, 5), padding=(1, 2)),
            nn.GELU(),
            nn.Conv2d(channels, channels, (3, 5), padding=(1, 2)),
            nn.GELU(),
            nn.Conv2d(channels, 1, 1),
        )
        self.unvoiced = nn.Linear(2, 1)

    def features(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        """float [B, T] to what the network sees: [B, H + 2, F, Q], and the frames' level [B, F]."""
        frames = frames_of(waveform, self.size, self.hop) * self.window
        magnitude = torch.fft.rfft(frames, self.padded).abs()
        correlation = torch.fft.irfft(magnitude**2)[..., : self.size // 2]
        periodic = correlation / (correlation[..., :1] + 1e-4) / self.window_correlation
        level = torch.log(frames.pow(2).mean(-1) + 1e-8) / 5
        spectrum = torch.log(magnitude + 1e-3)
        spectrum = (spectrum - spectrum.amax(-1, keepdim=True)).clamp(min=-7) / 3.5 + 1
        at_harmonics = _sample(spectrum, self.bins.flatten()).unflatten(-1, self.bins.shape)
        channels = [
            _sample(periodic, self.lags)[:, None],
            at_harmonics.permute(0, 2, 1, 3),
            level[:, None, :, None].expand(-1, -1, -1, self.lags.shape[0]),
        ]
        return torch.cat(channels, 1), level

    def read(self, waveform: Tensor) -> Tensor:
        """float [B, T] to the likeliest pitch codes, int64 [B, F]."""
        return in_chunks(lambda x: self(x).argmax(-1), waveform, self.hop, 8)

    def forward(self, waveform: Tensor) -> Tensor:
        """float [B, T] to logits over codes, float [B, F, 1 + Q], unvoiced first."""
        with torch.no_grad():
            seen, level = self.features(waveform)
        pitched = self.layers(seen)[:, 0]
        strongest = pitched.amax(-1)
        return torch.cat([self.unvoiced(torch.stack([level, strongest], -1)), pitched], -1)


def _sample(x: Tensor, index: Tensor) -> Tensor:
    """Values of x [..., N] at fractional positions [M], linearly interpolated: [..., M]."""
    below = index.floor().long().clamp(max=x.shape[-1] - 2)
    return torch.lerp(x[..., below], x[..., below + 1], (index - below).to(x.dtype))


def held(frequency: Tensor, voiced: Tensor) -> Tensor:
    """Hz [B, F], unvoiced frames filled from the voiced one before (or the first after)."""
    position = torch.arange(frequency.shape[1], device=frequency.device).expand_as(frequency)
    before = torch.where(voiced, position, -1).cummax(1).values
    first = voiced.to(torch.int8).argmax(1, keepdim=True).expand_as(position)
    filled = frequency.gather(1, torch.where(before >= 0, before, first))
    return torch.where(voiced.any(1, keepdim=True), filled, torch.full_like(filled, 55.0))

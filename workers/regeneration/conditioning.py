"""What the generator is told about the stems that stay, frame by frame.

Two views of one context waveform reach the decoder (see ``model.py``):

* frame features at 50 Hz (log-mel, onset strength, chroma), encoded with look-ahead by
  :class:`ContextEncoder` and ADDED to the code embeddings of the frame being predicted. Timing
  comes from here: a sum aligned in time keeps the beat (MusiConGen, arXiv 2407.15060), where a
  prefix must first learn the alignment;
* a slow chroma PREFIX, where stock MusicGen Melody puts its own (arXiv 2306.05284, section 2.3).

Everything is computed in torch from the waveform, from window lengths in SECONDS, so that the same
sound gives the same features at 16, 32 or 44.1 kHz.
"""

from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from workers.regeneration.harmony import PITCH_CLASSES, RootFinder

FRAME_RATE = 50
"""Frames a second of features, codes and generator."""

MEL_BANDS = 48
MEL_RANGE_HZ = (40.0, 7600.0)
MEL_WINDOW_S = 0.064
CHROMA_BINS = 12
CHROMA_RANGE_HZ = (55.0, 1760.0)
CHROMA_WINDOW_S = 0.256
CHROMA_EVERY = 4
"""Chroma is measured at every fourth frame and held: its window is 13 frames long anyway."""

ONSET_BANDS = 4
ENERGY_ROWS = MEL_BANDS + CHROMA_BINS
FEATURES = MEL_BANDS + ONSET_BANDS + CHROMA_BINS

LEVEL_FLOOR = 1e-9
"""Mean band power under which a context counts as silence (about -90 dBFS)."""


def _mel(frequency: Tensor) -> Tensor:
    """O'Shaughnessy's mel scale (the HTK formula)."""
    return 2595.0 * torch.log10(1.0 + frequency / 700.0)


@lru_cache(maxsize=8)
def _mel_filters(transform: int, sample_rate: int) -> Tensor:
    """Triangular filters of unit sum, float32 [MEL_BANDS, transform // 2 + 1]."""
    bins = torch.arange(transform // 2 + 1) * (sample_rate / transform)
    low, high = _mel(torch.tensor(MEL_RANGE_HZ)).tolist()
    edges = torch.linspace(low, high, MEL_BANDS + 2)
    position = _mel(bins)
    # A band narrower than one bin would be empty: no triangle is thinner than a bin's width.
    reach = _mel(bins + sample_rate / transform) - position
    left, centre, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising = (position - left) / torch.maximum(centre - left, reach)
    falling = (right - position) / torch.maximum(right - centre, reach)
    filters = torch.minimum(rising, falling).clamp_min(0.0)
    return filters / filters.sum(dim=1, keepdim=True).clamp_min(1e-8)


@lru_cache(maxsize=8)
def _chroma_filters(transform: int, sample_rate: int) -> Tensor:
    """Power of a bin by pitch class (C first), float32 [12, transform // 2 + 1]."""
    bins = torch.arange(1, transform // 2 + 1) * (sample_rate / transform)
    pitch = 69.0 + 12.0 * torch.log2(bins / 440.0)
    classes = torch.arange(CHROMA_BINS)[:, None]
    distance = torch.remainder(pitch[None] - classes + 6.0, 12.0) - 6.0
    weights = torch.exp(-0.5 * (distance / 0.35) ** 2)
    inside = (bins >= CHROMA_RANGE_HZ[0]) & (bins <= CHROMA_RANGE_HZ[1])
    # Equal weight to octaves: without it, low bins (few per semitone) would count for little.
    weights = weights * inside / bins
    return functional.pad(weights, (1, 0)) / weights.sum(dim=1, keepdim=True)


def _power_frames(waveform: Tensor, sample_rate: int, window_s: float, every: int) -> Tensor:
    """Power spectrum of frames centred on the middle of a codec frame, [B, bins, F]."""
    hop = sample_rate // FRAME_RATE
    window = round(window_s * sample_rate)
    transform = 1 << (window - 1).bit_length()
    frames = -(-waveform.shape[-1] // hop)
    margin = transform // 2 - (hop * every) // 2
    padded = functional.pad(waveform, (margin, transform + hop * every))
    taper = torch.hann_window(window, device=waveform.device)
    spectrum = torch.stft(
        padded,
        n_fft=transform,
        hop_length=hop * every,
        win_length=window,
        window=taper / taper.sum(),
        center=False,
        return_complex=True,
    )
    return spectrum.abs().square()[..., : -(-frames // every)]


def frame_energies(waveform: Tensor, sample_rate: int) -> Tensor:
    """Band and pitch-class power of a waveform at 50 Hz.

    Args:
        waveform: float32 [B, T], mono.
        sample_rate: Hz, a multiple of 50.

    Returns:
        float32 [B, ENERGY_ROWS, F] with F = ceil(T * 50 / sample_rate); frame f is centred on the
        codec's frame f. Powers of independent sounds add, which is how training mixes contexts.

    Raises:
        ValueError: the sample rate has no whole number of samples in a frame.
    """
    if sample_rate % FRAME_RATE:
        raise ValueError(f"sample rate {sample_rate} Hz is not a multiple of {FRAME_RATE}")
    frames = -(-waveform.shape[-1] * FRAME_RATE // sample_rate)
    mel_power = _power_frames(waveform, sample_rate, MEL_WINDOW_S, 1)
    filters = _mel_filters(2 * (mel_power.shape[1] - 1), sample_rate).to(waveform.device)
    mel = filters @ mel_power
    chroma_power = _power_frames(waveform, sample_rate, CHROMA_WINDOW_S, CHROMA_EVERY)
    pitch = _chroma_filters(2 * (chroma_power.shape[1] - 1), sample_rate).to(waveform.device)
    chroma = (pitch @ chroma_power).repeat_interleave(CHROMA_EVERY, dim=-1)
    return torch.cat([mel[..., :frames], chroma[..., :frames]], dim=1)


def onset_strength(log_mel: Tensor) -> Tensor:
    """Rise of the log-mel spectrum since the frame before, in bands [B, ONSET_BANDS, F]."""
    rise = (log_mel - functional.pad(log_mel, (1, 0))[..., :-1]).clamp_min(0.0)
    rise[..., 0] = 0.0
    return rise.unflatten(1, (ONSET_BANDS, -1)).mean(dim=2)


def features_of(energies: Tensor) -> Tensor:
    """Level-free features of a context.

    Args:
        energies: float32 [B, ENERGY_ROWS, F] from :func:`frame_energies`, the WHOLE context: the
            level is taken over all of it.

    Returns:
        float32 [B, FEATURES, F]: log-mel, onset strength, chroma; of the order of one.
    """
    mel, chroma = energies[:, :MEL_BANDS], energies[:, MEL_BANDS:]
    level = mel.mean(dim=(1, 2), keepdim=True).clamp_min(LEVEL_FLOOR)
    log_mel = torch.log(mel / level + 1e-4) / 3.0 + 1.0
    loudest = chroma.amax(dim=1, keepdim=True)
    floor = 1e-3 * chroma.mean(dim=(1, 2), keepdim=True).clamp_min(LEVEL_FLOOR)
    return torch.cat([log_mel, 2.0 * onset_strength(log_mel), chroma / (loudest + floor)], dim=1)


def context_features(waveform: Tensor, sample_rate: int) -> Tensor:
    """Features [B, FEATURES, F] of a context waveform float32 [B, T] at ``sample_rate`` Hz."""
    return features_of(frame_energies(waveform, sample_rate))


def chroma_prefix(features: Tensor, hop: int, length: int) -> Tensor:
    """Slow chroma for the decoder's prefix.

    Args:
        features: [B, FEATURES, F] of one window.
        hop: frames averaged into one prefix position.
        length: positions; shorter windows are filled with zeros, so that the first code always
            stands at the same position of the decoder.

    Returns:
        [B, length, 12].
    """
    chroma = functional.pad(features[:, -CHROMA_BINS:], (0, hop * length - features.shape[-1]))
    return chroma.unflatten(-1, (length, hop)).mean(dim=-1).transpose(1, 2)


@dataclass(frozen=True)
class ContextConfig:
    """Size of a :class:`ContextEncoder`; ``roots``: it is told where chord roots are heard."""

    features: int = FEATURES
    width: int = 192
    blocks: int = 3
    kernel: int = 15
    expansion: int = 2
    attention_layers: int = 1
    heads: int = 4
    roots: bool = False

    def to_dict(self) -> dict[str, Any]:
        """As it stands in a checkpoint's ``config.json``."""
        return asdict(self)


class ConvNextBlock(nn.Module):
    """Depth-wise convolution, norm, two point-wise layers, residual (arXiv 2201.03545)."""

    def __init__(self, width: int, kernel: int, expansion: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, expansion * width)
        self.contract = nn.Linear(expansion * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, F, width] to the same."""
        y = self.depthwise(x.transpose(1, 2)).transpose(1, 2)
        y = self.contract(functional.gelu(self.expand(self.norm(y))))
        return x + y


class ContextEncoder(nn.Module):
    """Features of the stems that stay -> what is added to each frame's code embeddings.

    It sees the whole window and a margin on both sides (look-ahead): a drummer who reads the score
    plays the accent on time. Positions are not encoded, so that a window can start anywhere.
    """

    def __init__(self, config: ContextConfig, kept_width: int, output_width: int) -> None:
        super().__init__()
        self.roots = RootFinder() if config.roots else None
        inputs = config.features + 2 + (PITCH_CLASSES if config.roots else 0)
        self.inputs = nn.Linear(inputs, config.width)
        self.kept = nn.Linear(kept_width, config.width, bias=False)
        self.blocks = nn.ModuleList(
            ConvNextBlock(config.width, config.kernel, config.expansion)
            for _ in range(config.blocks)
        )
        self.attention = nn.ModuleList(
            nn.TransformerEncoderLayer(
                config.width,
                config.heads,
                dim_feedforward=config.expansion * config.width,
                dropout=0.0,
                activation="gelu",
                batch_first=True,
                norm_first=True,
            )
            for _ in range(config.attention_layers)
        )
        self.norm = nn.LayerNorm(config.width)
        self.output = nn.Linear(config.width, output_width)

    def heard_roots(self, features: Tensor, present: Tensor) -> Tensor | None:
        """How likely each pitch class is the chord's root, [B, F, 12]; zero without a context.

        ``None`` in an encoder that is not told; arguments as in :meth:`forward`.
        """
        if self.roots is None:
            return None
        chroma = features[:, -CHROMA_BINS:] * present[:, None]
        likelihoods = self.roots(chroma).softmax(dim=1) * present[:, None]
        return likelihoods.transpose(1, 2)

    def forward(
        self,
        features: Tensor,
        present: Tensor,
        kept: Tensor,
        kept_mask: Tensor,
        roots: Tensor | None = None,
    ) -> Tensor:
        """Encode one window with its margins.

        Args:
            features: [B, FEATURES, F]; ignored where ``present`` is 0.
            present: [B, F], 1 where there is a context: 0 outside the song, and everywhere in the
                guidance branch without one.
            kept: [B, F, kept_width] embeddings of the target's kept frames; zero elsewhere.
            kept_mask: [B, F], 1 on kept frames.
            roots: from :meth:`heard_roots`.

        Returns:
            [B, F, output_width].
        """
        flags = torch.stack([present, kept_mask], dim=-1)
        inputs = [features.transpose(1, 2) * present[..., None], flags]
        if roots is not None:
            inputs.append(roots)
        x = self.inputs(torch.cat(inputs, dim=-1))
        x = x + self.kept(kept)
        for block in self.blocks:
            x = block(x)
        for layer in self.attention:
            x = layer(x)
        output: Tensor = self.output(self.norm(x))
        return output

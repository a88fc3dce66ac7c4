"""From Demucs' spectral output to waveforms, a few frames at a time.

What demucs does in three steps over the whole segment (denormalise, mask, inverse STFT) runs here
frame by frame in the cache; no spectrum of all stems is ever held.
"""

from collections.abc import Callable

import torch
from demucs.hdemucs import HDemucs
from demucs.htdemucs import HTDemucs
from torch import Tensor

from workers.separation.consistent import SILENCE, ConsistentHDemucs
from workers.separation.tiles import spans

FRAMES = 16
"""Frames at a time: of eight channels and 4,096 bins two megabytes of spectrum."""

Factors = Callable[[Tensor, Tensor], Tensor]


def can_synthesise(model: HDemucs | HTDemucs) -> bool:
    """Whether the model's way from output to waveform is known here (no Wiener filter)."""
    if model.hop_length * 4 != model.nfft or getattr(model, "hybrid_old", False):
        return False
    return bool(model.cac) or (model.wiener_iters < 0 and model.end_iters < 0)


def synthesise(
    model: HDemucs | HTDemucs,
    z: Tensor,
    magnitude: Tensor,
    x: Tensor,
    mean: Tensor,
    std: Tensor,
    length: int,
) -> Tensor:
    """Waveforms float32 [S, C, length] of a model's normalised spectral output.

    :param z: the mixture's spectrum, complex64 [C, bins, T]; `magnitude` is that of it, or
        unused where complex numbers are channels.
    :param x: what the last decoder gave, float32 [S * C (* 2 where complex as channels), bins, T].
    :param mean: what normalised the mixture's spectrogram, as `std` a float32 of one element.
    """
    sources, channels = len(model.sources), z.shape[0]
    bins, frames = x.shape[-2:]
    hop, size = model.hop_length, model.nfft
    hybrid = getattr(model, "hybrid", True)
    # A hybrid's STFT has two more frames on each side, which are left out, and padding.
    ahead, skipped = (2, hop // 2 * 3) if hybrid else (0, 0)
    total = frames + 2 * ahead
    out = x.new_zeros(sources, channels, total + 3, hop)
    # The STFT is normalised, and so is its inverse.
    window = torch.hann_window(size, device=x.device) * size**0.5
    x = x.view(sources, channels, -1, bins, frames)
    spectrum = torch.zeros((sources, channels, FRAMES, bins + 1), dtype=z.dtype, device=x.device)
    factors = _consistent if isinstance(model, ConsistentHDemucs) else _plain
    for begin, end in spans(frames, FRAMES):
        tile = x[..., begin:end].permute(0, 1, 4, 3, 2).contiguous()
        tile = tile.mul_(std).add_(mean)
        part = spectrum[:, :, : end - begin]
        if model.cac:
            torch.view_as_real(part)[..., :bins, :] = tile
        else:
            mixture = z[:, :bins, begin:end].transpose(1, 2)
            factor = factors(magnitude[..., begin:end].transpose(1, 2), tile[..., 0])
            torch.mul(
                torch.view_as_real(mixture),
                factor[..., None],
                out=torch.view_as_real(part)[..., :bins, :],
            )
        pieces = torch.fft.irfft(part, n=size).mul_(window).unflatten(-1, (4, hop))
        for shift in range(4):
            out[:, :, begin + ahead + shift : end + ahead + shift] += pieces[..., shift, :]
    first = size // 2 + skipped
    envelope = _envelope(size, hop, total).to(x.device)[first : first + length]
    return out.flatten(2)[..., first : first + length] / envelope


def _plain(magnitude: Tensor, estimates: Tensor) -> Tensor:
    """What the mixture's spectrum [C, T, bins] is multiplied by for each stem."""
    return estimates / (magnitude + 1e-8)


def _consistent(magnitude: Tensor, estimates: Tensor) -> Tensor:
    """As `ConsistentHDemucs` has it: what is left of the mixture is shared out."""
    weight = estimates.abs().add_(SILENCE)
    residual = (magnitude - estimates.sum(0)) / weight.sum(0)
    return torch.addcmul(estimates, weight, residual).div_(magnitude + 1e-8)


def _envelope(size: int, hop: int, frames: int) -> Tensor:
    """What the overlapping squared windows add up to, float32 [(frames + 3) * hop]."""
    square = torch.hann_window(size).square().view(4, hop)
    envelope = torch.zeros(frames + 3, hop)
    for shift in range(4):
        envelope[shift : shift + frames] += square[shift]
    return envelope.flatten()

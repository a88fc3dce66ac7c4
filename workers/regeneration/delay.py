"""The delay pattern of MusicGen (arXiv 2306.05284, section 2.1).

Codebook k of frame f stands at column ``1 + f + k``; column 0 is the start. Cells that belong to no
frame hold the padding code. A column is one step of the decoder.
"""

import torch
from torch import Tensor


def delay(codes: Tensor, padding: int) -> Tensor:
    """Codes [B, K, F] int64 -> columns [B, K, 1 + F + K - 1] int64."""
    batch, codebooks, frames = codes.shape
    columns = codes.new_full((batch, codebooks, frames + codebooks), padding)
    for k in range(codebooks):
        columns[:, k, 1 + k : 1 + k + frames] = codes[:, k]
    return columns


def undelay(columns: Tensor) -> Tensor:
    """Columns [B, K, F + K] int64 -> codes [B, K, F] int64; the inverse of :func:`delay`."""
    codebooks = columns.shape[1]
    frames = columns.shape[2] - codebooks
    return torch.stack([columns[:, k, 1 + k : 1 + k + frames] for k in range(codebooks)], dim=1)

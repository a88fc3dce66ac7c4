"""Residual vector quantisation by plain lookup.

Training uses audiocraft's `ResidualVectorQuantizer` (Zeghidour et al. 2021, arXiv:2107.03312);
what it learns is a table of vectors, and serving needs no more than that table.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def quantise(latent: Tensor, codebooks: Tensor) -> Tensor:
    """Code a sequence of vectors, each codebook coding what the ones before it left over.

    Args:
        latent: float [B, F, D].
        codebooks: float [K, N, D].

    Returns:
        int64 [B, K, F].
    """
    residual = latent
    codes = []
    for codebook in codebooks:
        distance = codebook.pow(2).sum(1) - 2 * residual @ codebook.t()
        chosen = distance.argmin(-1)
        residual = residual - F.embedding(chosen, codebook)
        codes.append(chosen)
    return torch.stack(codes, 1)


def dequantise(codes: Tensor, codebooks: Tensor) -> Tensor:
    """int64 [B, k, F] and float [K, N, D], k <= K, to float [B, F, D]."""
    latent = F.embedding(codes[:, 0], codebooks[0])
    for row in range(1, codes.shape[1]):
        latent = latent + F.embedding(codes[:, row], codebooks[row])
    return latent

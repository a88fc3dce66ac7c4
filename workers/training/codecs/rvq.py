"""audiocraft's residual quantiser, as a codec in training uses it."""

from typing import Any

import torch
from torch import Tensor, nn

import workers.compiled_librosa  # noqa: F401 - audiocraft imports librosa
from workers.regeneration.torchaudio_stub import make_torchaudio_importable

make_torchaudio_importable()

from audiocraft.quantization import ResidualVectorQuantizer  # noqa: E402


class Quantiser(nn.Module):
    """`ResidualVectorQuantizer` with sequences as [B, F, D], and restarts that last.

    In audiocraft 1.3.0 the vector put in a dead code's place is overwritten by the moving average
    in the same forward pass, so that its own restart has no effect; it is switched off and done
    here.
    """

    def __init__(self, dimension: int, codebooks: int, size: int) -> None:
        super().__init__()
        self.rvq = ResidualVectorQuantizer(
            dimension=dimension,
            n_q=codebooks,
            bins=size,
            decay=0.99,
            kmeans_init=True,
            kmeans_iters=5,
            threshold_ema_dead_code=0,
        )

    def forward(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """float [B, F, D] to the latent quantised (straight-through) and the penalty."""
        result = self.rvq(latent.transpose(1, 2), 50)
        return result.x.transpose(1, 2), result.penalty

    @torch.no_grad()
    def start(self, latent: Tensor) -> None:
        """k-means every codebook on float [B, F, D], each on what the ones before it leave over.

        audiocraft 1.3.0 starts the moving average of a code with its vector, though it divides it
        by the code's count: a code that stood for twenty vectors would jump to a twentieth of its
        length, one that stood for none far away. Here the average starts at vector times count.
        """
        residual = latent.flatten(0, 1)
        for layer in self.rvq.vq.layers:
            book: Any = layer._codebook
            book.init_embed_(residual)
            book.cluster_size.clamp_(min=0.1 * float(book.cluster_size.mean()))
            book.embed_avg.copy_(book.embed * book.cluster_size[:, None])
            residual = residual - book.dequantize(book.quantize(residual))

    @torch.no_grad()
    def restart_dead(self, latent: Tensor, share: float = 0.1) -> int:
        """Move codes used less than `share` of the mean onto vectors of float [B, F, D].

        Returns:
            how many were moved, over all codebooks.
        """
        residual = latent.flatten(0, 1)
        moved = 0
        for layer in self.rvq.vq.layers:
            book: Any = layer._codebook
            mean = float(book.cluster_size.mean())
            dead = book.cluster_size < share * mean
            count = int(dead.sum())
            if count:
                chosen = residual[torch.randint(0, residual.shape[0], (count,))]
                book.embed[dead] = chosen
                book.embed_avg[dead] = chosen * mean
                book.cluster_size[dead] = mean
                moved += count
            residual = residual - book.dequantize(book.quantize(residual))
        return moved

    def tables(self) -> Tensor:
        """The codebooks, float [K, N, D]."""
        layers: Any = self.rvq.vq.layers
        return torch.stack([layer._codebook.embed for layer in layers]).detach().clone()

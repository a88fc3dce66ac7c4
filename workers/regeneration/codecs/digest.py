"""A name for the language of a codec: which weights codes were made by, and for."""

import hashlib
import json

import torch

from .interface import Codec


def code_digest(codec: Codec) -> str:
    """SHA-256 of what decides the codes: the codec's sizes, its encoder and its codebooks.

    Two codecs of one digest give the same codes for the same sound, however their decoders differ,
    so that a better decoder leaves codes, and generators trained on them, valid. Tensors count as
    they are exported, in float16.
    """
    digest = hashlib.sha256(json.dumps(codec.config(), sort_keys=True).encode())
    for name, tensor in sorted(codec.state_dict().items()):
        if codec.is_encoding(name):
            digest.update(f"{name} {list(tensor.shape)}".encode())
            stored = tensor.detach().cpu().to(torch.float16).contiguous()
            digest.update(stored.numpy().astype("<f2").tobytes())
    return digest.hexdigest()

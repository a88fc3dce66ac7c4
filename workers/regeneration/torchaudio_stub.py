"""Lets transformers be imported where torchaudio is installed but its C++ library cannot load.

transformers imports torchaudio whenever it is installed. torchaudio's registry wheel is linked
against CUDA; beside a CPU build of torch its import raises ``OSError``. Nothing this project serves
needs torchaudio: it comes along with audiocraft, for training.
"""

import importlib
import sys
from types import ModuleType
from typing import Any


def _identity(function: Any) -> Any:
    return function


def make_torchaudio_importable() -> bool:
    """Stand in for torchaudio's extension module if, and only if, it cannot be loaded.

    Returns:
        Whether the stand-in is in place. False where torchaudio is absent or sound.
    """
    try:
        importlib.import_module("torchaudio")
    except ModuleNotFoundError:
        return False
    except OSError:
        stub = ModuleType("torchaudio._extension")
        vars(stub).update(
            _IS_TORCHAUDIO_EXT_AVAILABLE=False,
            _IS_ALIGN_AVAILABLE=False,
            fail_if_no_align=_identity,
        )
        sys.modules["torchaudio._extension"] = stub
        importlib.import_module("torchaudio")
        return True
    return getattr(sys.modules.get("torchaudio._extension"), "__file__", None) is None

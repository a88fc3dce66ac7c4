"""Lets torchaudio be imported where its compiled library cannot load.

transformers imports torchaudio whenever it is installed, audiocraft always. The registry's wheel is
linked against CUDA; beside a CPU build of torch its import raises ``OSError``. What training needs
of it (mel filters) is plain Python and serving needs nothing, so the compiled part is declared
absent. Where the library does load, nothing is changed.
"""

import importlib
import sys
from types import ModuleType
from typing import Any


def _identity(function: Any) -> Any:
    return function


def make_torchaudio_importable() -> bool:
    """Stand in for torchaudio's extension module if, and only if, it cannot be loaded.

    Call before the first import of audiocraft, transformers or torchaudio; again does nothing.

    Returns:
        Whether the stand-in is in place. False where torchaudio is absent or sound.
    """
    try:
        importlib.import_module("torchaudio")
    except ModuleNotFoundError:
        return False
    except OSError:
        for name in [n for n in sys.modules if n.split(".")[0] == "torchaudio"]:
            del sys.modules[name]
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

"""Makes audiocraft importable beside a torch that torchaudio's compiled library was not built for.

audiocraft imports torchaudio at once. The wheel of torchaudio on the registry links against CUDA
builds of torch; beside a CPU build its shared library cannot load and `import torchaudio` raises
`OSError`. What training needs of it (mel filters, resampling) is plain Python, so the compiled
part is declared absent. Where the library does load, nothing is changed.
"""

import importlib
import sys
from types import ModuleType

_EXTENSION = "torchaudio._extension"


def prepare() -> None:
    """Call before the first import of audiocraft or torchaudio. Calling again does nothing."""
    if "torchaudio" in sys.modules:
        return
    try:
        importlib.import_module("torchaudio")
    except OSError:
        for name in [n for n in sys.modules if n.split(".")[0] == "torchaudio"]:
            del sys.modules[name]
        absent = ModuleType(_EXTENSION)
        setattr(absent, "_IS_TORCHAUDIO_EXT_AVAILABLE", False)  # noqa: B010
        setattr(absent, "_IS_ALIGN_AVAILABLE", False)  # noqa: B010
        setattr(absent, "fail_if_no_align", lambda function: function)  # noqa: B010
        sys.modules[_EXTENSION] = absent
        importlib.import_module("torchaudio")

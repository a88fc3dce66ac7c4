"""What processor this is, and LLVM's machine code for it.

A matrix library chooses its loops by the shape of the whole product, so that a row's sum depends on
who shares its batch, and it takes some tens of microseconds to choose. A decoder's step is many
small products whose weights never change. llvmlite brings LLVM's code generator as a library, no
compiler has to be installed, and a kernel is compiled in a fraction of a second when it is first
needed.
"""

import ctypes
import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cache
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir

LANES = 16
"""The most of any processor."""

Kernel = Callable[..., None]
"""Machine code: takes addresses and int64 numbers, and lets other threads run meanwhile."""


@dataclass(frozen=True)
class Processor:
    """The vectors that it computes with.

    Attributes:
        lanes: float32 numbers of one vector.
        registers: vectors that it holds at once.
        bfloat16_pairs: whether it multiplies bfloat16, two to a lane, by instructions of its own.
    """

    name: str
    features: str
    lanes: int
    registers: int
    bfloat16_pairs: bool = False


@cache
def processor() -> Processor:
    """The one that this process runs on."""
    name, found = llvm.get_host_cpu_name(), llvm.get_host_cpu_features()
    features = found.flatten()
    if found.get("avx512f"):
        # LLVM halves vectors of 64 bytes unless told otherwise.
        wide = f"{features},-prefer-256-bit"
        return Processor(name, wide, LANES, 32, bfloat16_pairs=bool(found.get("avx512bf16")))
    if found.get("avx2"):
        return Processor(name, features, lanes=8, registers=16)
    return Processor(name, features, lanes=4, registers=32 if found.get("neon") else 16)


_compiling = threading.Lock()
_made: dict[tuple[Processor, Hashable], dict[str, Kernel]] = {}
_engines: list[Any] = []


def compiled(what: Hashable, build: Callable[[Processor], ir.Module]) -> dict[str, Kernel]:
    """The public functions of a module by their names; compiled once in a process.

    Args:
        what: names the module, its sizes included.
        build: makes it.
    """
    here = processor()
    with _compiling:
        if (here, what) not in _made:
            _made[here, what] = _compiled(build(here), here)
        return _made[here, what]


def _compiled(module: ir.Module, here: Processor) -> dict[str, Kernel]:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple()
    machine = target.create_target_machine(cpu=here.name, features=here.features, opt=3)
    parsed = llvm.parse_assembly(str(module))
    parsed.verify()
    passes = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=2))
    passes.getModulePassManager().run(parsed, passes)
    engine = llvm.create_mcjit_compiler(parsed, machine)
    engine.finalize_object()
    # The code lives as long as its engine does.
    _engines.append(engine)
    return {
        function.name: _callable(engine.get_function_address(function.name), function.args)
        for function in module.functions
        if not function.is_declaration and function.linkage != "internal"
    }


def _callable(address: int, arguments: tuple[ir.Argument, ...]) -> Kernel:
    kinds = [
        ctypes.c_void_p if isinstance(argument.type, ir.PointerType) else ctypes.c_int64
        for argument in arguments
    ]
    # ctypes lets go of Python's lock for the time of the call.
    kernel: Kernel = ctypes.CFUNCTYPE(None, *kinds)(address)
    return kernel

"""Words for writing kernels in LLVM's intermediate representation."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from llvmlite import ir

FLOAT, BYTE = ir.FloatType(), ir.IntType(8)
SHORT, WORD, LONG, BIT = ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.IntType(1)
NOTHING = ir.VoidType()


class _BFloat(ir.Type):
    """LLVM's type, which llvmlite cannot name yet."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BFloat)

    def __hash__(self) -> int:
        return hash("bfloat")


BFLOAT = _BFloat()


def long(number: int) -> ir.Constant:
    """An int64 that is known now."""
    return ir.Constant(LONG, number)


def pointer(kind: ir.Type) -> ir.Type:
    """To elements of a kind."""
    return kind.as_pointer()


class KernelWriter:
    """A function that is being written, and the place in it where the next instruction goes.

    Args:
        module: that it belongs to.
        name: of the function.
        arguments: names and types.
        lanes: float32 numbers of a vector.
        public: whether it can be called from Python.
    """

    def __init__(
        self,
        module: ir.Module,
        name: str,
        arguments: Sequence[tuple[str, ir.Type]],
        lanes: int,
        *,
        public: bool = True,
    ) -> None:
        kind = ir.FunctionType(NOTHING, [kind for _, kind in arguments])
        self.module, self.lanes = module, lanes
        self.function = ir.Function(module, kind, name)
        for argument, (given, _) in zip(self.function.args, arguments, strict=True):
            argument.name = given
        if not public:
            self.function.linkage = "internal"
            self.function.attributes.add("noinline")
        self.vector = ir.VectorType(FLOAT, lanes)
        self.words = ir.VectorType(WORD, lanes)
        self.now = ir.IRBuilder(self.function.append_basic_block("entry"))

    @property
    def arguments(self) -> tuple[ir.Argument, ...]:
        """Of the function."""
        arguments: tuple[ir.Argument, ...] = self.function.args
        return arguments

    @contextmanager
    def each(
        self, start: ir.Value, end: ir.Value, by: int = 1, carried: Sequence[ir.Value] = ()
    ) -> Iterator[tuple[ir.Value, list[ir.Value]]]:
        """What is written inside is done for every number from ``start`` to before ``end``.

        ``carried`` go from one time to the next: the list that is given holds them as they were,
        what the body puts in their places is what the next time, and after it the code behind the
        loop, finds there.
        """
        before = self.now.block
        head, body, after = (
            self.now.append_basic_block(name) for name in ("head", "body", "after")
        )
        self.now.branch(head)
        self.now.position_at_end(head)
        number = self.now.phi(LONG)
        number.add_incoming(start, before)
        values = [self.now.phi(value.type) for value in carried]
        for value, first in zip(values, carried, strict=True):
            value.add_incoming(first, before)
        self.now.cbranch(self.now.icmp_signed("<", number, end), body, after)
        self.now.position_at_end(body)
        given = list(values)
        yield number, given
        number.add_incoming(self.now.add(number, long(by)), self.now.block)
        for value, last in zip(values, given, strict=True):
            value.add_incoming(last, self.now.block)
        self.now.branch(head)
        self.now.position_at_end(after)
        given[:] = values

    def at(self, base: ir.Value, *offsets: ir.Value) -> ir.Value:
        """The address so many elements behind another."""
        for offset in offsets:
            base = self.now.gep(base, [offset])
        return base

    def load(self, address: ir.Value, kind: ir.Type | None = None) -> ir.Value:
        """A vector, or what ``kind`` says; it may lie anywhere."""
        kind = self.vector if kind is None else kind
        return self.now.load(self.now.bitcast(address, pointer(kind)), align=1)

    def store(self, value: ir.Value, address: ir.Value) -> None:
        """A vector or a number, anywhere."""
        self.now.store(value, self.now.bitcast(address, pointer(value.type)), align=1)

    def all_lanes(self, number: ir.Value) -> ir.Value:
        """A vector of the same number everywhere."""
        kind = ir.VectorType(number.type, self.lanes)
        nothing = ir.Constant(kind, ir.Undefined)
        first = self.now.insert_element(nothing, number, ir.Constant(WORD, 0))
        return self.now.shuffle_vector(first, nothing, ir.Constant(self.words, [0] * self.lanes))

    def constant(self, number: float) -> ir.Constant:
        """A vector of a number that is known now."""
        return ir.Constant(self.vector, [number] * self.lanes)

    def fused(self, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
        """a * b + c."""
        return self._called("llvm.fmuladd", a, b, c)

    def larger(self, a: ir.Value, b: ir.Value) -> ir.Value:
        """The larger of each two; ``a`` where either is no number."""
        return self.now.select(self.now.fcmp_unordered(">", a, b), a, b)

    def size(self, x: ir.Value) -> ir.Value:
        """Of each, without its sign."""
        return self._called("llvm.fabs", x)

    def nearest(self, x: ir.Value) -> ir.Value:
        """The whole number next to each, the even one of two."""
        return self._called("llvm.rint", x)

    def summed(self, vector: ir.Value) -> ir.Value:
        """All lanes together, in an order that the processor is fast with, always the same."""
        zero = ir.Constant(FLOAT, -0.0)
        name = f"llvm.vector.reduce.fadd.v{self.lanes}f32"
        kind = ir.FunctionType(FLOAT, [FLOAT, self.vector])
        return self.now.call(self._declared(name, kind), [zero, vector], fastmath=["reassoc"])

    def largest(self, vector: ir.Value) -> ir.Value:
        """Of all lanes."""
        width = self.lanes
        while width > 1:
            width //= 2
            order = [(lane + width) % self.lanes for lane in range(self.lanes)]
            turned = self.now.shuffle_vector(vector, vector, ir.Constant(self.words, order))
            vector = self.larger(vector, turned)
        return self.now.extract_element(vector, ir.Constant(WORD, 0))

    def exponential(self, x: ir.Value) -> ir.Value:
        """e to the power of each x <= 0, within 2e-7 of it; 0 where that is below 1e-37.

        2 ** n times e ** r, with r what is left of x beyond n ln 2, by its series (as Cephes'
        ``expf``: ln 2 is taken off in two parts, so that no bit of r is lost).
        """
        least = self.constant(-85.0)
        low = self.now.fcmp_ordered("<", x, least)
        whole = self.nearest(self.now.fmul(x, self.constant(1.0 / math.log(2.0))))
        rest = self.fused(whole, self.constant(-0.693359375), x)
        rest = self.fused(whole, self.constant(2.12194440e-4), rest)
        series = self.constant(1.0 / math.factorial(7))
        for power in range(6, -1, -1):
            series = self.fused(series, rest, self.constant(1.0 / math.factorial(power)))
        # A float's exponent is its bits from 23 on, 127 more than it is.
        # What is no number has no power of two either, and stays what it is.
        whole = self.now.select(self.now.fcmp_ordered(">=", x, least), whole, self.constant(0.0))
        exponent = self.now.fptosi(whole, self.words)
        shift = ir.Constant(self.words, [23] * self.lanes)
        bits = self.now.add(self.now.bitcast(series, self.words), self.now.shl(exponent, shift))
        return self.now.select(low, self.constant(0.0), self.now.bitcast(bits, self.vector))

    def gelu(self, x: ir.Value) -> ir.Value:
        """x times the share of a normal distribution below it, within 2e-7 times x.

        The share beyond is that of Abramowitz and Stegun, 7.1.26.
        """
        now, size = self.now, self.size(x)
        spread = self.fused(size, self.constant(0.3275911 * math.sqrt(0.5)), self.constant(1.0))
        t = now.fdiv(self.constant(1.0), spread)
        series = self.constant(1.061405429)
        for factor in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
            series = self.fused(series, t, self.constant(factor))
        half = now.fmul(self.constant(-0.5), now.fmul(x, x))
        beyond = now.fmul(now.fmul(series, t), now.fmul(self.exponential(half), self.constant(0.5)))
        below = now.fmul(x, beyond)
        return now.select(now.fcmp_ordered(">", x, self.constant(0.0)), now.fsub(x, below), below)

    def intrinsic(self, name: str, kind: ir.Type, *arguments: ir.Value) -> ir.Value:
        """What one of a processor's own instructions gives, by LLVM's name for it."""
        kind = ir.FunctionType(kind, [argument.type for argument in arguments])
        return self.now.call(self._declared(name, kind), list(arguments))

    def _called(self, name: str, *arguments: ir.Value) -> ir.Value:
        return self.intrinsic(f"{name}.v{self.lanes}f32", self.vector, *arguments)

    def _declared(self, name: str, kind: ir.FunctionType) -> ir.Function:
        found = self.module.globals.get(name)
        return ir.Function(self.module, kind, name) if found is None else found

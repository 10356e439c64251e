"""One instruction that Python lacks: bring memory near before it is needed.

Work that waits for memory, one place after the other, waits once for many if all are asked for
first.
"""

import numba
from llvmlite import ir


@numba.extending.intrinsic
def prefetch(typing, address):
    """Ask for the cache line of an address, uint64, and go on at once; compiled code only."""

    def build(context, builder, signature, arguments):
        pointer = builder.inttoptr(arguments[0], ir.IntType(8).as_pointer())
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, number, number, number])
        function = builder.module.declare_intrinsic("llvm.prefetch", [pointer.type], kind)
        builder.call(function, [pointer, number(1), number(3), number(1)])  # data, to be written
        return context.get_dummy_value()

    return numba.types.none(address), build

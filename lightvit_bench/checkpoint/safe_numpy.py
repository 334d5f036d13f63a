"""numpy values inside a pickle, rebuilt without numpy's own unpickling.

Training scripts leave numpy scalars and arrays beside the weights (best accuracy, a log's history).
numpy's `dtype.__setstate__` trusts its argument: a crafted one makes raw bytes pass for object
pointers. So the names that a pickle uses for numpy are answered here by small stand-ins that build
plain numbers and strings only.
"""

from __future__ import annotations

import numpy as np

PLAIN_KINDS = "biufcSU"  # booleans, numbers, strings; no objects, no records


class NotPlain(ValueError):
    """A numpy value in a pickle is no plain number or string."""


class PlainDtype:
    """Answers `numpy.dtype` in a pickle; `value` is the numpy dtype it stands for."""

    def __init__(self, code: str, align: bool = False, copy: bool = True):
        if not isinstance(code, str) or np.dtype(code).kind not in PLAIN_KINDS:
            raise NotPlain(f"a numpy array of type {code!r}, which is not a plain number")
        self.value = np.dtype(code)

    def __setstate__(self, state: tuple) -> None:
        byte_order, fields = state[1], state[4]
        if fields is not None:
            raise NotPlain("a numpy array of records")
        self.value = self.value.newbyteorder(byte_order)


class PlainArray(np.ndarray):
    """Answers `numpy.ndarray` in a pickle; is pickled again as an ordinary array."""

    def __setstate__(self, state: tuple) -> None:
        version, shape, dtype, fortran, raw = state
        if not isinstance(dtype, PlainDtype) or not isinstance(raw, bytes):
            raise NotPlain("a numpy array that does not hold plain numbers")
        super().__setstate__((version, shape, dtype.value, fortran, raw))

    def __reduce__(self) -> tuple:
        return self.view(np.ndarray).__reduce__()


def empty_array(kind: type, shape: tuple, code: bytes) -> PlainArray:
    """Answers `_reconstruct`: an empty array, which `__setstate__` fills. Ignores its arguments."""
    return np.ndarray.__new__(PlainArray, (0,), np.int8)


def plain_scalar(dtype: PlainDtype, raw: bytes) -> np.generic:
    """Answers `scalar`: one number from its bytes."""
    if not isinstance(dtype, PlainDtype) or not isinstance(raw, bytes):
        raise NotPlain("a numpy scalar that is not a plain number")
    return np.frombuffer(raw, dtype.value, count=1)[0]


# (stand-in, name in the pickle), as `torch.serialization.safe_globals` takes them; numpy 1 and 2.
STAND_INS = (
    (PlainDtype, "numpy.dtype"),
    (PlainArray, "numpy.ndarray"),
    *((empty_array, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
    *((plain_scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
)

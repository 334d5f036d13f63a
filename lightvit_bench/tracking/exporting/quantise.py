"""int8 by NNCF's post-training quantisation, and what then stays in floating point.

Four parts always do. The patch embedding, the choice of the candidates (a row of attention) and the
head's layers for size and offset (at one cell) cost most of the accuracy in int8, and save next to
no time. The products of attention save none at all: softmax, between them, takes it.

Where the boxes are still too far from PyTorch's, the other parts of the network are tried one by
one, and those that help most are kept in floating point too, until the boxes are near enough. That
is bounded: a short trial for each part, and at most `MOST_KEPT` networks after it.

Names of layers do not survive all of the way here, their order does: what lies between the norms
tells the parts from each other, in ONNX as in OpenVINO.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lightvit_bench.errors import MissingDataError
from lightvit_bench.tracking.exporting.crops import spread
from lightvit_bench.tracking.exporting.parity import Bounds, Parity
from lightvit_bench.tracking.runtimes.exported import notes

EMBEDDING, ATTENTION = "patch embedding", "attention products"
CHOICE, REGRESSION = "choice of candidates", "size and offset"
ALWAYS_FLOAT = (EMBEDDING, ATTENTION, CHOICE, REGRESSION)
MOST_KEPT = 8  # parts beyond these that are tried together
TRIAL_ITEMS = 24  # crops that calibrate the trial of a part: enough to rank them
_NORMS = {"MVN", "LayerNormalization"}
_PRODUCTS = {"MatMul", "Gemm", "Conv", "Convolution", "ScaledDotProductAttention"}
_BEST = {"TopK", "ArgMax"}  # candidates, or the best cell


@dataclass(frozen=True)
class Operation:
    """One of a graph, whose tool calls it `name`. inputs: names of those that feed it."""

    name: str
    kind: str
    inputs: tuple[str, ...]


def quantise(
    model: Any,
    items: Sequence[dict[str, np.ndarray]],
    judge: Callable[[Any], Parity],
    bounds: Bounds,
) -> tuple[Any, tuple[str, ...]]:
    """A frame's network in int8, and the parts of it that stay in floating point.

    Args:
        model: `ov.Model` or `onnx.ModelProto`; it is not changed.
        items: what the network was given, input name -> array of one frame: calibration.
        judge: how far a quantised network's boxes are from PyTorch's.
        bounds: how far they may be.

    Returns:
        The network that is within the bounds or, where none is, the nearest one found. The same
        arguments give the same network.

    Raises:
        MissingDataError: NNCF is not installed.
    """
    nncf = _nncf()
    groups = parts_of(operations(model))
    kept = [name for name in ALWAYS_FLOAT if name in groups]

    def quantised(names: Iterable[str], items: Sequence) -> Any:
        ignored = [one for name in names for one in groups[name]]
        return _quantised(nncf, model, items, ignored)

    best = quantised(kept, items)
    least = bounds.excess(judge(best))
    if least <= 1:
        return best, tuple(kept)
    notes.warning(
        "int8: boxes are %.1f times as far from PyTorch's as they may be; looking for what to "
        "keep in floating point.", least,
    )  # fmt: skip
    few = spread(items, TRIAL_ITEMS)
    left = {
        name: bounds.excess(judge(quantised([*kept, name], few)))
        for name in groups
        if name not in kept
    }
    best_kept = list(kept)
    for name in sorted(left, key=left.get)[:MOST_KEPT]:  # equal ones in the network's order
        kept.append(name)
        tried = quantised(kept, items)
        over = bounds.excess(judge(tried))
        if over < least:
            best, best_kept, least = tried, list(kept), over
        if least <= 1:
            break
    return best, tuple(best_kept)


def operations(model: Any) -> list[Operation]:
    """What a model computes, in an order in which everything comes behind what feeds it."""
    if hasattr(model, "graph"):
        made: dict[str, str] = {}
        found = []
        for node in model.graph.node:
            feeds = tuple(made[one] for one in node.input if one in made)
            found.append(Operation(node.name, node.op_type, feeds))
            made.update({one: node.name for one in node.output})
        return found
    return [
        Operation(
            one.get_friendly_name(),
            one.get_type_name(),
            tuple(value.get_node().get_friendly_name() for value in one.input_values()),
        )
        for one in model.get_ordered_ops()
    ]


def parts_of(found: Sequence[Operation]) -> dict[str, list[str]]:
    """The network's parts, in its order, as a reader knows them -> names of their products.

    A block has two norms, before its attention and its MLP, and one ends the last block: how many
    norms lie before a product tells its part.
    """
    norms: dict[str, int] = {}
    chosen: set[str] = set()  # what the best cell is known to
    for one in found:
        norms[one.name] = max((norms[feed] for feed in one.inputs), default=0)
        norms[one.name] += one.kind in _NORMS
    last = max(norms.values(), default=0)
    for one in found:
        if (one.kind in _BEST and norms[one.name] == last) or chosen & {*one.inputs}:
            chosen.add(one.name)
    choice = _only_for({one.name for one in found if one.kind in _BEST}, found)
    parts: dict[str, list[str]] = {}
    for one in found:
        if one.kind not in _PRODUCTS:
            continue
        count = norms[one.name]
        if count == 0:
            part = EMBEDDING
        elif count == last:
            part = REGRESSION if one.name in chosen else "head"
        elif one.name in choice:
            part = CHOICE
        elif sum(norms[feed] > 0 for feed in one.inputs) > 1:  # no weights among them
            part = ATTENTION
        else:
            part = f"block {(count - 1) // 2} " + ("attention" if count % 2 else "MLP")
        parts.setdefault(part, []).append(one.name)
    return parts


def _only_for(ends: Collection[str], found: Sequence[Operation]) -> set[str]:
    """Names of operations that nothing but `ends` needs."""
    users: dict[str, list[str]] = {}
    for one in found:
        for feed in one.inputs:
            users.setdefault(feed, []).append(one.name)
    alone: set[str] = set()
    for one in reversed(found):
        using = users.get(one.name, [])
        if using and all(user in ends or user in alone for user in using):
            alone.add(one.name)
    return alone


def _quantised(nncf: Any, model: Any, items: Sequence, ignored: Sequence[str]) -> Any:
    """NNCF's int8 of a model, but for the operations named.

    On the shipped weights this is nearer to PyTorch than NNCF's defaults for transformers: ranges
    of activations that leave nothing out, and symmetric, which is faster too.
    """
    ranges = nncf.quantization.range_estimator.RangeEstimatorParametersSet.MINMAX
    with _quiet():
        return nncf.quantize(
            model,
            nncf.Dataset(list(items)),
            preset=nncf.QuantizationPreset.PERFORMANCE,
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(items),
            ignored_scope=nncf.IgnoredScope(names=sorted(ignored)) if ignored else None,
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                activations_range_estimator_params=ranges
            ),
        )


def _nncf() -> Any:
    """NNCF, which then does not report its use.

    Its telemetry, if that package is there, would send events over the network from within
    `quantize`. NNCF reads this variable once, when it is imported, and leaves telemetry out.
    """
    name = "NNCF_CI"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        import nncf
    except ImportError as error:
        raise MissingDataError(
            f"int8 needs NNCF, which is not installed ({error.name} is missing).",
            do="pip install 'lightvit_bench[export]'",
        ) from None
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
    return nncf


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars and no remarks of NNCF's."""
    log = logging.getLogger("nncf")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        log.setLevel(level)

"""From a PyTorch module to an ONNX file: one file, checked, with text of ours in its metadata."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from lightvit_bench.errors import MissingDataError
from lightvit_bench.writing import whole_file

if TYPE_CHECKING:
    import onnx

OPSET = 18  # the exporter's own; later ones would shut out older runtimes for nothing


def onnx_graph(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    outputs: Sequence[str],
    *,
    any_batch: bool = False,
) -> onnx.ModelProto:
    """Trace a module, in eval mode, into an ONNX model with its weights inside.

    Args:
        inputs: name -> example, in the order of the module's arguments. Shapes are fixed to these.
        outputs: names of what the module returns.
        any_batch: leave the first axis of every input and output open, named "batch". The examples
            then need a batch of two or more (one would be taken for a constant).

    Raises:
        MissingDataError: the packages that write ONNX are not installed.
        ValueError: `any_batch`, and the module takes the examples' batch for a constant.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401  (torch's exporter needs it and fails late without)
    except ImportError as error:
        raise MissingDataError(
            f"ONNX files cannot be written: {error.name} is not installed.",
            do="pip install 'lightvit_bench[export]'",
        ) from None
    shapes = None
    if any_batch:
        batch = torch.export.Dim("batch", min=1, max=4096)
        shapes = tuple({0: batch} for _ in inputs)
    talk = io.StringIO()  # the exporter's; shown if it fails
    quiet = logging.getLogger("torch.onnx")
    level = quiet.level
    try:
        quiet.setLevel(logging.ERROR)
        with warnings.catch_warnings(), contextlib.redirect_stdout(talk), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module.eval(),
                tuple(inputs.values()),
                input_names=list(inputs),
                output_names=list(outputs),
                opset_version=OPSET,
                dynamo=True,
                dynamic_shapes=shapes,
                external_data=False,
                verbose=False,
            )
    finally:
        quiet.setLevel(level)
    model = program.model_proto
    onnx.checker.check_model(model, full_check=True)
    if any_batch:  # where a module makes a number of the batch, torch exports with that, quietly
        for value in (*model.graph.input, *model.graph.output):
            if value.type.tensor_type.shape.dim[0].dim_param != "batch":
                raise ValueError(
                    f"the batch of {value.name} is fixed: the module makes a number of it (`len(x)`"
                    " does, `x.shape[0]` does not)"
                )
    return model


def save_onnx(
    model: onnx.ModelProto, path: str | PathLike, metadata: Mapping[str, str] | None = None
) -> None:
    """Write a model, whole or not at all, with `metadata` in its properties."""
    for key, value in (metadata or {}).items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    with whole_file(path) as aside:
        aside.write_bytes(model.SerializeToString())

"""Exported trackers computed by OpenVINO. Needs numpy and openvino, no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import openvino as ov

from lightvit_bench.errors import CheckpointError
from lightvit_bench.openvino_core import core, has_bfloat16
from lightvit_bench.tracking.runtimes.base import (
    INPUTS,
    OUTPUTS,
    ExportedModel,
    checked_threads,
    is_input,
)
from lightvit_bench.tracking.runtimes.exported import (
    KEY,
    SEAL_KEY,
    Exported,
    check_seal,
    check_weights,
    from_json,
    notes,
)

_HINTS = {"fp32": "f32", "bf16": "bf16"}


class OpenVinoModel(ExportedModel):
    """A `tracker.Model` of NAME.xml, with NAME.bin beside it.

    Args:
        threads: of the CPU.
        precision: "fp32" or "bf16" in place of the file's own; in an int8 file, that of what is
            not int8. On a CPU without bfloat16, fp32 is used and a line says so.

    Raises:
        CheckpointError: the file is missing, damaged, or exported by another version.
    """

    runtime = "OpenVINO"
    version = ov.__version__.split("-")[0]
    # CPU time of 2, 4, 8 targets at once against one after another, measured on two AVX-512 cores:
    # fp32 0.90, 0.90, 0.84; bf16 0.87, 0.85, 0.75. A size is compiled when it is first needed, in
    # 0.3 s, and takes 60 MB; hence few.
    batches = (8, 4, 2, 1)

    def __init__(self, path: str | Path, threads: int | None = None, precision: str | None = None):
        path = Path(path)
        about, model = read_model(path)
        rest = precision or ("fp32" if about.precision == "fp32" else "bf16")
        if rest == "bf16" and not has_bfloat16():
            if "bf16" in (precision, about.precision):  # of int8, it was nobody's wish
                notes.warning("this CPU has no bfloat16: %s is computed in fp32.", path.name)
            rest = "fp32"
        super().__init__(about, checked_threads(threads), _told(about.precision, rest))
        self._hint = _HINTS[rest]
        parts = {one.any_name: one for one in model.outputs}
        inputs = {one.get_friendly_name(): one for one in model.get_parameters()}
        results = {name: one.get_node() for name, one in parts.items()}
        template = ov.Model([results["tokens"]], [inputs["image"]])
        wanted = [inputs[name] for name in INPUTS if name in inputs]
        self._frame = ov.Model([results[name] for name in OUTPUTS], wanted)
        # The template is embedded once, exactly; bfloat16 would gain nothing.
        self._template = self._compile(template, "f32").create_infer_request()
        self._requests: dict[int, ov.InferRequest] = {}
        self._request(1 if self.can_batch(1) else about.batch)

    def can_batch(self, targets: int) -> bool:
        """Any number: the network is shaped for it when it is first asked for."""
        return targets >= 1

    def regions(self, targets: int) -> np.ndarray:
        return self._request(targets).get_tensor("search").data

    def _compile(self, model: ov.Model, hint: str) -> ov.CompiledModel:
        options = {
            "INFERENCE_NUM_THREADS": self.threads,
            "INFERENCE_PRECISION_HINT": hint,  # by itself OpenVINO takes bf16 where it can
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
        }
        return core().compile_model(model, "CPU", options)

    def _request(self, targets: int) -> ov.InferRequest:
        if targets not in self._requests:
            shapes = {one: [targets, *list(one.partial_shape)[1:]] for one in self._frame.inputs}
            self._frame.reshape(shapes)
            self._requests[targets] = self._compile(self._frame, self._hint).create_infer_request()
        return self._requests[targets]

    def _embed(self, image: np.ndarray) -> np.ndarray:
        self._template.get_input_tensor(0).data[:] = image
        self._template.infer()
        return self._template.get_output_tensor(0).data.copy()

    def _run(
        self, embedded: Sequence[np.ndarray], searches: np.ndarray, boxes_wh: Sequence
    ) -> tuple[np.ndarray, ...]:
        request = self._request(len(embedded))
        tokens, regions = (request.get_tensor(name).data for name in INPUTS[:2])
        for i, one in enumerate(embedded):
            tokens[i] = one[0]
        if not is_input(searches, regions):
            regions[:] = searches
        if self.spec.wants_box:
            request.get_tensor("box_wh").data[:] = boxes_wh
        request.infer()
        return tuple(request.get_tensor(name).data for name in OUTPUTS)


def read_model(path: Path) -> tuple[Exported, ov.Model]:
    """The network in NAME.xml and NAME.bin, and what it says about itself; both are checked."""
    weights = path.with_suffix(".bin")
    for file in (path, weights):
        if not file.is_file():
            raise CheckpointError(
                "the exported tracker is not there."
                if file == path
                else "the exported tracker has lost its weights.",
                looked_for=str(file),
                needs=f"{path.name} and {weights.name}, side by side",
            )
    try:
        model = core().read_model(path, weights)
        text = _text(model, KEY)
        about = from_json(text, path)
        check_seal(path, _text(model, SEAL_KEY), text, network_of(path))
    except (RuntimeError, UnicodeDecodeError) as error:  # of an error text that is no text
        raise CheckpointError(
            "the exported tracker cannot be read: it is damaged, or of a later OpenVINO.",
            file=str(path),
            cause=str(error).strip().splitlines()[-1],
            runtime=f"OpenVINO {OpenVinoModel.version}",
        ) from None
    check_weights(weights, about)
    names = {one.get_friendly_name() for one in model.get_parameters()}
    made = {name for one in model.outputs for name in one.names}
    if not {"image", *INPUTS[: 2 + about.wants_box]} <= names or not {"tokens", *OUTPUTS} <= made:
        raise CheckpointError(
            "the exported tracker is damaged: inputs or outputs are missing.", file=str(path)
        )
    return about, model


def network_of(path: Path) -> bytes:
    """NAME.xml without its end, which is what the model says about itself."""
    return path.read_bytes().rpartition(b"<rt_info>")[0]


def _text(model: ov.Model, key: str) -> str | None:
    if not model.has_rt_info(key):
        return None
    return model.get_rt_info(key).astype(str)


def _told(exported: str, rest: str) -> str:
    """As "int8 and bf16", "fp32"."""
    return f"int8 and {rest}" if exported == "int8" else rest

"""Exported trackers computed by ONNX Runtime. Needs numpy and onnxruntime, no torch."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort

from lightvit_bench.errors import CheckpointError
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
    TEMPLATE_KEY,
    check_seal,
    check_weights,
    from_json,
    notes,
)


class OnnxModel(ExportedModel):
    """A `tracker.Model` of NAME.onnx.

    Args:
        threads: of the CPU.
        precision: only the file's own; another one is told in a line and not used (ONNX Runtime's
            CPU has no kernels for bfloat16).

    Raises:
        CheckpointError: the file is missing, damaged, or exported by another version.
    """

    runtime = "ONNX Runtime"
    version = ort.__version__
    batches = (1,)  # 2, 4, 8 at once need as much CPU time as one after another (1.00 to 1.06)

    def __init__(self, path: str | Path, threads: int | None = None, precision: str | None = None):
        self._path = Path(path)
        if not self._path.is_file():
            raise CheckpointError("the exported tracker is not there.", looked_for=str(path))
        self._threads = checked_threads(threads)
        self._sessions: dict[int, ort.InferenceSession] = {}
        first = self._open(self._path)
        metadata = self._metadata(first)
        about = from_json(metadata.get(KEY), self._path)
        check_weights(self._path, about)
        if precision not in (None, about.precision):
            notes.warning(
                "ONNX Runtime computes %s in %s, as it was exported, not in %s.",
                self._path.name, about.precision, precision,
            )  # fmt: skip
        super().__init__(about, self._threads, about.precision)
        self._template = self._open(self._template_part(metadata))
        self._inputs: dict[int, dict[str, np.ndarray]] = {}
        if about.batch:
            self._sessions[about.batch] = first
            self.batches = (about.batch,)
        else:
            self._session(1)

    def can_batch(self, targets: int) -> bool:
        """Any number where the file leaves it open, else up to the file's."""
        return self.spec.batch == 0 or 1 <= targets <= self.spec.batch

    def regions(self, targets: int) -> np.ndarray:
        return self._arrays(targets)["search"][:targets]

    def _open(self, model: Path | bytes, targets: int = 0) -> ort.InferenceSession:
        options = ort.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # what fails is raised
        if targets:
            options.add_free_dimension_override_by_name("batch", targets)
        try:
            given = model if isinstance(model, bytes) else str(model)
            return ort.InferenceSession(given, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # a class of its own for each of its codes
            raise CheckpointError(
                "the exported tracker cannot be read: it is damaged, or of a later ONNX.",
                file=str(self._path),
                cause=str(error).strip().splitlines()[-1],
                runtime=f"ONNX Runtime {self.version}",
            ) from None

    def _metadata(self, session: ort.InferenceSession) -> dict[str, str]:
        try:
            return session.get_modelmeta().custom_metadata_map
        except UnicodeDecodeError as error:
            raise CheckpointError(
                "the exported tracker is damaged: its metadata is no text.",
                file=str(self._path),
                cause=str(error),
            ) from None

    def _template_part(self, metadata: dict[str, str]) -> bytes:
        text = metadata.get(TEMPLATE_KEY, "")
        check_seal(self._path, metadata.get(SEAL_KEY), metadata[KEY], text.encode(errors="replace"))
        try:
            return base64.b64decode(text, validate=True)
        except ValueError:  # binascii.Error, or characters beyond ASCII
            return b""

    def _session(self, targets: int) -> ort.InferenceSession:
        self._check_batch(targets)
        rows = self.spec.batch or targets
        if rows not in self._sessions:
            self._sessions[rows] = self._open(self._path, rows)
        return self._sessions[rows]

    def _arrays(self, targets: int) -> dict[str, np.ndarray]:
        """The input arrays for a number of targets; ONNX Runtime reads them in place.

        Those of a file for more targets have more rows, whose answers nobody reads.
        """
        self._session(targets)
        targets = self.spec.batch or targets
        if targets not in self._inputs:
            spec = self.spec
            arrays = {
                "template": np.zeros((targets, spec.template_tokens, spec.width), np.float32),
                "search": np.zeros((targets, spec.search_size, spec.search_size, 3), np.uint8),
            }
            if spec.wants_box:
                arrays["box_wh"] = np.zeros((targets, 2), np.float32)
            self._inputs[targets] = arrays
        return self._inputs[targets]

    def _embed(self, image: np.ndarray) -> np.ndarray:
        return self._template.run(["tokens"], {"image": image})[0]

    def _run(
        self, embedded: Sequence[np.ndarray], searches: np.ndarray, boxes_wh: Sequence
    ) -> tuple[np.ndarray, ...]:
        count = len(embedded)
        arrays = self._arrays(count)
        for i, one in enumerate(embedded):
            arrays["template"][i] = one[0]
        if not is_input(searches, arrays["search"][:count]):
            arrays["search"][:count] = searches
        if self.spec.wants_box:
            arrays["box_wh"][:count] = boxes_wh
        given = {name: arrays[name] for name in INPUTS if name in arrays}
        return tuple(self._session(count).run(list(OUTPUTS), given))

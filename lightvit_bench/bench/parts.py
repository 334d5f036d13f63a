"""Parts of a run record: how a model was made, its size, curves, and files that a score is from.

Standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from lightvit_bench.bench import checks
from lightvit_bench.errors import BadDataError

CURVE_POINTS = 2000  # at most: a page holds many
_HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True)
class Recipe:
    """How a model came to be; None where it does not apply, or nobody says.

    Attributes:
        pretraining: "D-MAE", "MAE", "supervised (DeiT)", "none", ...
        pretraining_data: "ImageNet-1K", ...
        pretraining_epochs: of that data.
        teacher: that pre-training, or training, learns from.
        fine_tuning: what lies between pre-training and the task, with labels or not: "ImageNet-1K
            with labels, 1,000 epochs, relative positions".
        head: what the task puts on the encoder: "Semantic FPN", "Mask R-CNN (ViTDet)", ...
        schedule: of training on the task: "160k iterations, batch 16".
        crop: what the network sees: "512 x 512", "128 template, 256 search".
        test_mode: "single scale, whole image", ...
    """

    pretraining: str | None = None
    pretraining_data: str | None = None
    pretraining_epochs: int | None = None
    teacher: str | None = None
    fine_tuning: str | None = None
    head: str | None = None
    schedule: str | None = None
    crop: str | None = None
    test_mode: str | None = None

    def __post_init__(self):
        for one in fields(self):
            value = getattr(self, one.name)
            if value is None:
                continue
            if one.name == "pretraining_epochs":
                checks.whole(one.name, value, 0)
            else:
                checks.text(one.name, value)


@dataclass(frozen=True)
class ModelSize:
    """Parameters, and multiply-accumulates of one input.

    Attributes:
        backbone_parameters, parameters: of the encoder alone, and of all that the task computes.
        backbone_macs, macs: of the same two.
        input: what MACs are counted for, "3 x 512 x 512"; needed with MACs.
    """

    backbone_parameters: int | None = None
    parameters: int | None = None
    backbone_macs: int | None = None
    macs: int | None = None
    input: str | None = None

    def __post_init__(self):
        for name in ("backbone_parameters", "parameters", "backbone_macs", "macs"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, checks.whole(name, getattr(self, name), 1))
        if self.input is not None:
            checks.text("input", self.input)
        elif self.macs is not None or self.backbone_macs is not None:
            raise checks.wrong("input", "needed with MACs: what they are counted for", self.input)


@dataclass(frozen=True)
class Curve:
    """Values over something: a loss over iterations, success over thresholds.

    Attributes:
        x, y: finite numbers, as many of one as of the other, x ascending, at most `CURVE_POINTS`.
        x_label, y_label: names with units: "iteration", "mIoU (%)".
    """

    x: tuple[float, ...]
    y: tuple[float, ...]
    x_label: str
    y_label: str

    def __post_init__(self):
        for name in ("x", "y"):
            values = getattr(self, name)
            if not isinstance(values, (list, tuple)):
                raise checks.wrong(name, "a list of numbers", values)
            numbers = tuple(checks.number(name, value) for value in values)
            object.__setattr__(self, name, numbers)
        for name in ("x_label", "y_label"):
            checks.text(name, getattr(self, name))
        if not 0 < len(self.x) == len(self.y) <= CURVE_POINTS:
            wanted = f"as many values as x, 1 to {CURVE_POINTS}"
            raise checks.wrong("y", wanted, f"{len(self.y)} for {len(self.x)}")
        if any(b < a for a, b in zip(self.x, self.x[1:], strict=False)):
            raise checks.wrong("x", "ascending", self.x)

    @classmethod
    def thinned(cls, x: Any, y: Any, x_label: str, y_label: str) -> Curve:
        """A curve of every k-th of many points, the last always among them."""
        step = -(-len(x) // CURVE_POINTS) or 1
        last = len(x) - 1
        kept = sorted({*range(last, -1, -step)})
        return cls(
            tuple(float(x[i]) for i in kept), tuple(float(y[i]) for i in kept), x_label, y_label
        )


@dataclass(frozen=True)
class StoredFiles:
    """Files that a score can be computed from again: predictions, or the truth.

    Attributes:
        kind: how they are read: "tracks" (a folder of SEQ.txt), "coco-json", "label-png" (a
            folder), "lasot-annotations".
        path: as `shown_path` gives it.
        files: how many count.
        sha256: of one file its own; of several `provenance.sha256_of_files`.
        options: what reading them needs besides: {"classes": 150, "ignore": 0}.
    """

    kind: str
    path: str
    files: int
    sha256: str
    options: Mapping[str, str | int] = field(default_factory=dict)

    def __post_init__(self):
        for name in ("kind", "path"):
            checks.text(name, getattr(self, name))
        object.__setattr__(self, "files", checks.whole("files", self.files, 1))
        check_hex("sha256", self.sha256, 64)
        if not isinstance(self.options, Mapping):
            raise checks.wrong("options", "an object with named values", self.options)
        for key, value in self.options.items():
            checks.named("options", key)
            if isinstance(value, bool) or not isinstance(value, (str, int)):
                raise checks.wrong(f"options.{key}", "text or a whole number", value)
        object.__setattr__(self, "options", dict(self.options))


def check_hex(name: str, value: Any, digits: int) -> None:
    """`BadDataError` unless `value` is so many hexadecimal digits."""
    if not isinstance(value, str) or len(value) != digits or not set(value) <= _HEX:
        raise checks.wrong(name, f"{digits} hexadecimal digits", value)


def read_curves(values: Any) -> dict[str, Curve]:
    """Curves by name, from what JSON gave or as they are."""
    if not isinstance(values, Mapping):
        raise checks.wrong("curves", "an object with named curves", values)
    found = {}
    for name, value in values.items():
        checks.named("curves", name)
        is_one = isinstance(value, Curve)
        found[name] = value if is_one else checks.build(Curve, value, f"curves.{name}")
    return found


def read_remarks(values: Any) -> tuple[str, ...]:
    """Lines of text, from what JSON gave."""
    if not isinstance(values, (list, tuple)):
        raise BadDataError(
            "a field of a record is a list of lines of text.", field="remarks", found=repr(values)
        )
    return tuple(checks.text("remarks", value) for value in values)

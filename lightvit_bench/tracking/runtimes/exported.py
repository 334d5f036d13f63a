"""What an exported tracker says about itself: JSON in the model's own metadata. No torch here."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from lightvit_bench.errors import CheckpointError, ConfigError
from lightvit_bench.tracking.answers import Settings
from lightvit_bench.tracking.checks import check_kind, check_number, check_whole

KIND = "exported-tracker"
FORMAT_VERSION = 1
KEY = "lightvit_bench"  # of the JSON in the metadata
SEAL_KEY = "lightvit_bench.seal"  # of `seal`
TEMPLATE_KEY = "lightvit_bench.template"  # of the template's part, base64, in an ONNX file
PRECISIONS = ("fp32", "bf16", "int8")

notes = logging.getLogger("lightvit_bench")  # one-line remarks; shown on stderr by default


@dataclass(frozen=True)
class Exported:
    """An exported tracker's identity, and what `Tracker` needs beside its network.

    Attributes:
        template_size, search_size, template_factor, search_factor: as in `NetworkSpec`.
        template_tokens, width: shape of an embedded template.
        grid: cells a side of the search region.
        wants_box: whether the network takes the last box (pruning with a prior).
        batch: targets at once; 0: any number, fixed when the file is loaded.
        precision: of the computation: "fp32", "bf16", "int8".
        settings: how the answers are taken.
        source, recipe, data: SHA-256 of the weights exported, and their own words on training.
        weights: SHA-256 of the bytes that hold network and weights, and `size`, their number.
        parity: boxes against PyTorch's at export: "frames", "max_px", "mean_px".
        kept_float: layers that int8 left in floating point.
        made_with: package -> version.
    """

    template_size: int
    search_size: int
    template_factor: float
    search_factor: float
    template_tokens: int
    width: int
    grid: int
    wants_box: bool
    batch: int
    precision: str
    settings: Settings
    source: str
    recipe: str
    data: str
    weights: str
    size: int
    parity: dict[str, float] = field(default_factory=dict)
    kept_float: tuple[str, ...] = ()
    made_with: dict[str, str] = field(default_factory=dict)
    kind: str = KIND
    format_version: int = FORMAT_VERSION

    def __post_init__(self):
        for name in ("template_size", "search_size"):
            check_whole(f"{name}, in pixels,", getattr(self, name), 16, 4096)
        for name in ("template_factor", "search_factor"):
            check_number(name, getattr(self, name), above=0, most=10)
        for name in ("template_tokens", "width", "grid"):
            check_whole(name, getattr(self, name), 1, 65536)
        check_kind("wants_box", self.wants_box, bool)
        check_whole("batch", self.batch, 0, 4096)
        check_whole("size, in bytes,", self.size, 0)
        for name in ("precision", "source", "recipe", "data", "weights"):
            check_kind(name, getattr(self, name), str)
        for name in ("parity", "made_with"):
            check_kind(name, getattr(self, name), dict)
        if self.precision not in PRECISIONS:
            raise ConfigError(f"precision is one of {', '.join(PRECISIONS)}.", is_=self.precision)
        object.__setattr__(self, "kept_float", tuple(self.kept_float))

    def to_json(self) -> str:
        """What `from_json` takes back."""
        return json.dumps(asdict(self))


def from_json(text: str | None, path: Path) -> Exported:
    """What the metadata of a file says.

    Raises:
        CheckpointError: there is none, it is damaged, or the file was exported by another version.
    """
    again = "export it again: tools/export.py CHECKPOINT OUT"
    if not text:
        raise CheckpointError(
            "the model was not exported by lightvit_bench: nothing in it says how it is used.",
            file=str(path),
            do=again,
        )
    try:
        values = json.loads(text)
        if not isinstance(values, dict) or values.get("kind") != KIND:
            kind = values.get("kind") if isinstance(values, dict) else None
            raise CheckpointError(
                f"the file holds {kind or 'something else'}, not an exported tracker.",
                file=str(path),
                do="give a tracker's file: tools/export.py CHECKPOINT OUT makes one",
            )
        version = values.get("format_version")
        check_whole("format_version", version, 1)
        if version != FORMAT_VERSION:
            raise CheckpointError(
                f"the tracker was exported in version {version} of this format; this program reads "
                f"version {FORMAT_VERSION}.",
                file=str(path),
                do="update lightvit_bench" if version > FORMAT_VERSION else again,
                exported_with=_told(values.get("made_with")),
            )
        known = {one.name for one in fields(Exported)}
        if set(values) != known:
            raise ConfigError(f"fields {sorted(set(values) ^ known)}")
        check_kind("settings", values["settings"], dict)
        check_kind("kept_float", values["kept_float"], list)
        values["settings"] = Settings(**values["settings"])
        return Exported(**values)
    except (AttributeError, ConfigError, RecursionError, TypeError, ValueError) as error:
        raise CheckpointError(
            "what the exported tracker says about itself is damaged.",
            file=str(path),
            cause=str(error),
            do=again,
        ) from None


def check_weights(path: Path, about: Exported) -> None:
    """`CheckpointError` unless the first `about.size` bytes of a file are those that were written.

    ONNX files end with the metadata, which the digest cannot cover; OpenVINO's weights are a file
    of their own.
    """
    digest, left = hashlib.sha256(), about.size
    with path.open("rb") as file:
        while left and (block := file.read(min(left, 1 << 20))):
            digest.update(block)
            left -= len(block)
    if left or digest.hexdigest() != about.weights:
        raise CheckpointError(
            "the exported tracker is damaged: its weights are not those that were written.",
            file=str(path),
            do="copy or export it again",
        )


def seal(text: str, *parts: bytes) -> str:
    """SHA-256 of the JSON and of what else `check_weights` does not cover."""
    digest = hashlib.sha256(text.encode())
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def check_seal(path: Path, told: str | None, text: str, *parts: bytes) -> None:
    """`CheckpointError` unless a file's `seal` is the one that was written."""
    if told != seal(text, *parts):
        raise CheckpointError(
            "the exported tracker is damaged: its network or what it says about itself is not what "
            "was written.",
            file=str(path),
            do="copy or export it again",
        )


def _told(versions: Any) -> str:
    if not isinstance(versions, dict):
        return "unknown versions"
    return ", ".join(f"{name} {version}" for name, version in versions.items())

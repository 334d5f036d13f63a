"""What a load of weights did, in words."""

from __future__ import annotations

from dataclasses import dataclass

from lightvit_bench.checkpoint.manifest import HEADS_FROM


@dataclass(frozen=True)
class LoadReport:
    """What was loaded from where, and what was not.

    Attributes:
        architecture: preset and heads in words.
        missing: the encoder's tensors that the file lacks; they keep their fresh start.
        unexpected: the file's tensors that the encoder has no place for (a CLS token, a norm).
        resampled: position tables brought to another grid.
        norm: "loaded", "fresh" or "none", of the final norm.
        aside: groups of tensors kept in the file beside the encoder.
        verified: whether the file's fingerprint was checked.
    """

    file: str
    sha256: str
    preset: str
    heads: int
    architecture: str
    heads_from: str
    recipe: str
    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    resampled: tuple[str, ...]
    norm: str
    aside: tuple[str, ...]
    verified: bool

    def __str__(self) -> str:
        counts = f"{len(self.loaded)} loaded, {len(self.missing)} missing (fresh)"
        lines = [
            f"encoder weights from {self.file} (sha256 {self.sha256[:12]})",
            f"  {self.architecture} ({HEADS_FROM[self.heads_from]}); recipe {self.recipe}",
            f"  tensors: {counts}, {len(self.unexpected)} unexpected (left out), "
            f"{len(self.resampled)} resampled",
            f"  final norm: {self.norm}; kept aside in the file: {', '.join(self.aside) or '-'}",
            f"  fingerprint: {'as saved' if self.verified else 'none in the file'}",
        ]
        for label in ("missing", "unexpected"):
            if names := getattr(self, label):
                shown = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
                lines.append(f"  {label}: {shown}")
        return "\n".join(lines)

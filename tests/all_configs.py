"""Every config of the project, read once for all tests of a process."""

from pathlib import Path

from lightvit_bench.openmmlab.config import (
    is_detection,
    is_pretraining,
    is_tracking,
    load_config,
)

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = sorted(
    str(path.relative_to(ROOT))
    for path in (ROOT / "configs").rglob("*.py")
    if "_base_" not in path.parts
)
_READ = {config: load_config(ROOT / config) for config in CONFIGS}
PRETRAIN = [config for config in CONFIGS if is_pretraining(_READ[config])]
TRACKING = [config for config in CONFIGS if is_tracking(_READ[config])]
DETECTION = [config for config in CONFIGS if is_detection(_READ[config])]
SEGMENTATION = [c for c in CONFIGS if c not in PRETRAIN + TRACKING + DETECTION]

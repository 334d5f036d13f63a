"""Run records of how quickly pairs are made: `--record` of tools/bench_pairs.py."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.config import Config

from lightvit_bench.bench.detection_runs import Spread
from lightvit_bench.bench.markdown import plural
from lightvit_bench.bench.provenance import shown_path
from lightvit_bench.bench.record import RunRecord, measured_record
from lightvit_bench.tracking.training.bench_pairs import LoaderRate, TrainingRate

PAIRS_SPEED = "pairs-speed"
PACKAGES = ("torch", "numpy", "opencv-python", "mmengine")
_SEED = 0  # that `bench_pairs.loader_of` draws pairs from
_PRECISIONS = {"bfloat16": "bf16", "float16": "fp16"}


def record_of(
    cfg: Config,
    config: str,
    rates: Sequence[LoaderRate],
    training: TrainingRate | None = None,
    *,
    pairs: int,
    steps: int = 0,
    argv: Sequence[str] | None = None,
) -> RunRecord:
    """The record of one number of workers.

    Args:
        cfg: as it was run.
        config: the path it was read from.
        rates: of the loader alone, one a round.
        training: of loader and trainer together, where that was timed.
        pairs: that each round timed at least.
        steps: of training that were timed.
    """
    workers = rates[0].workers
    device = precision = None
    if training:
        device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
        precision = "fp32"
        if cfg.optim_wrapper.type == "AmpOptimWrapper":
            precision = _PRECISIONS.get(cfg.optim_wrapper.get("dtype"), "fp16")
    text = json.dumps(cfg.to_dict(), sort_keys=True, default=str)
    return measured_record(
        PAIRS_SPEED,
        Path(config).stem,
        {
            "pairs_per_second": Spread.of([one.pairs_per_second for one in rates])._asdict(),
            "pairs_per_second_of_each": Spread.of([one.of_each for one in rates])._asdict(),
            "training_pairs_per_second": training and training.pairs_per_second,
            "waiting": training and training.waiting,
            "workers": workers,
            "pairs": pairs,
            "steps": steps if training else None,
            "batch": cfg.train_dataloader.batch_size,
            "rounds": len(rates),
        },
        packages=PACKAGES,
        argv=argv,
        origin="demo" if _is_made(cfg) else "measured",
        dataset=_data_of(cfg),
        protocol=f"{workers}-{plural(workers, 'worker')}",
        variant=f"{workers} {plural(workers, 'worker')}",
        precision=precision,
        threads=torch.get_num_threads() if training else None,
        seed=_SEED,
        config=shown_path(config),
        config_sha256=hashlib.sha256(text.encode()).hexdigest(),
        device=device,
    )


def _folders(cfg: Config) -> list[str]:
    """The folders of the data sets that pairs are drawn from, as the config names them."""
    data = cfg.train_dataloader.dataset
    if "sets" in data:
        return [one.get("root", one.name) for one in data.sets if one.get("ratio", 1)]
    return [data[key] for key in ("coco", "photos") if data.get(key)]


def _data_of(cfg: Config) -> str:
    return ", ".join(dict.fromkeys(Path(one).name for one in _folders(cfg))) or "not named"


def _is_made(cfg: Config) -> bool:
    """Whether the data is what `make demo` leaves in data/demo."""
    root = cfg.train_dataloader.dataset.get("data_root", "")
    return any("demo" in (Path(root) / one).parts for one in _folders(cfg))

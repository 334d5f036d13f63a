"""From a tracker's config and a checkpoint to scores on the config's test set: tools/test.py.

    test_set = dict(name="lasot", root="lasot", split="test", data_root="data")

`name` and `split` are those of `data.tracking_sets`, `root` lies below `data_root` or is a path of
its own. `sequences`, a list of names or a text file of them, one a line, runs fewer; `found_above`
and `hold` replace the tracker's own settings.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lightvit_bench.checkpoint import sha256
from lightvit_bench.checkpoint.fit import misfits, refuse_misfits
from lightvit_bench.data.tracking_sets import SETS
from lightvit_bench.errors import CheckpointError, ConfigError
from lightvit_bench.tracking.answers import Settings, with_settings
from lightvit_bench.tracking.network import NetworkSpec, OneStreamTracker
from lightvit_bench.tracking.running.exported import TestedFile, exported_of, is_exported
from lightvit_bench.tracking.running.folder import earlier_run, identity_of
from lightvit_bench.tracking.running.judged import check_truth
from lightvit_bench.tracking.running.report import finish, metrics, table
from lightvit_bench.tracking.running.sequences import open_test_set, setting_names
from lightvit_bench.tracking.running.sets import run_set
from lightvit_bench.tracking.running.workers import usable_cores
from lightvit_bench.tracking.watching.follow import AnyTracker, warm_up

if TYPE_CHECKING:
    from mmengine.config import Config

_FREE = ("eliminate", "keep")  # of `NetworkSpec`: they need no other weights
_EXPORTED = "tracker.safetensors"
_MOST_PROCESSES = 8  # unless asked for: each holds a tracker and what a decoder needs


@dataclass(frozen=True)
class Tested:
    """A tracker to run.

    Attributes:
        file: what `load_tracker` reads.
        image_mean, image_std: per RGB channel, for pixels from 0 to 1.
        sha256: of the checkpoint that was given, which need not be `file`.
        prepare: has `file` be there.
        device: of torch's.
    """

    file: Path
    spec: NetworkSpec
    settings: Settings
    image_mean: tuple[float, ...]
    image_std: tuple[float, ...]
    sha256: str
    prepare: Callable[[], object]
    device: str = "cpu"

    @property
    def identity(self) -> dict:
        """What of it must be the same for results to lie in one folder."""
        return dict(
            checkpoint=self.sha256,
            network=asdict(self.spec),
            image_mean=self.image_mean,
            image_std=self.image_std,
        )

    def starter(self, threads: int) -> Callable[[], AnyTracker]:
        """What gives the tracker in a process of its own; it can be pickled."""
        return partial(start_tracker, self.file, self.spec, self.settings, self.device, threads)


def test_tracking(
    cfg: Config,
    checkpoint: str,
    *,
    out: str | None = None,
    processes: int | None = None,
    threads: int | None = None,
    realtime: float | None = None,
    device: str = "cpu",
    precision: str | None = None,
    record: str | None = None,
    remarks: Sequence[str] = (),
) -> dict[str, float]:
    """Run a tracker over the test set of its config; prints a table and returns what it scores.

    Args:
        checkpoint: a tracker's file, exported or not, or the `.pth` of a training run.
        out: folder for results; `cfg.work_dir`/SET_SPLIT_CHECKPOINT by default. A second call goes
            on from what is there.
        processes: side by side; by default as many as there are cores, at most 8.
        threads: of each; by default as many as in the folder already, else cores / processes.
        realtime: frames a second of a stream by whose clock the tracker is run as well.
        precision: of an exported tracker's computation, in place of the file's.
        record: folder for a run record. remarks: of it, what a reader of the score must know.

    Raises:
        UserError: the checkpoint does not fit, the data is not whole, sequences failed (those done
            stay), or the folder is another run's.
        SystemExit: Ctrl-C or SIGTERM.
    """
    _check_numbers(processes, threads, realtime, device)
    section = dict(cfg.get("test_set") or {})
    name, split, sequences, root = open_test_set(section, cfg.filename)
    path = Path(checkpoint)
    folder = Path(out or Path(cfg.work_dir) / f"{name}_{split}_{path.name.partition('.')[0]}")
    changed = {key: value for key, value in section.items() if key in setting_names()}
    tested = tested_of(cfg, path, folder, changed, precision, device)
    check_truth(name, split, sequences)
    if record is not None:
        from lightvit_bench.bench.parts import read_remarks
        from lightvit_bench.tracking.running.recording import check_recordable

        check_recordable(record, name, split, sequences)
        read_remarks(remarks)

    cores = usable_cores()
    processes = processes or max(1, min(cores, _MOST_PROCESSES, len(sequences)))
    held = earlier_run(folder)
    threads = threads or (held or {}).get("identity", {}).get("threads")
    threads = threads or max(1, cores // processes)
    identity = identity_of(
        sequences,
        set=name,
        split=split,
        **tested.identity,
        settings=asdict(tested.settings),
        device=device,
        threads=threads,
        realtime=None,
    )
    common = dict(
        notes={"checkpoint": str(checkpoint), "config": str(cfg.filename), "root": str(root)},
        prepare=tested.prepare,
    )
    start = tested.starter(threads)
    print(
        f"{SETS[name].title} ({split}): {len(sequences)} sequences; processes: {processes}, "
        f"threads of each: {threads}, {device}; results in {folder}",
        flush=True,
    )
    run_set(sequences, start, folder, identity, processes=processes, **common)
    whole = section.get("sequences") is None
    rows = [finish(name, split, folder, sequences, submit=whole)]
    if realtime:
        beside = min(processes, max(1, cores // threads))  # a tracker that waits for a core is late
        if beside < processes:
            print(f"by the clock {beside} at a time: more do not fit {cores} cores", flush=True)
        clocked = folder / f"realtime_{realtime:g}"
        identity["realtime"] = {"frames_per_second": realtime, "patience": 1.0}
        run_set(sequences, start, clocked, identity, processes=beside, realtime=realtime, **common)
        rows.append(finish(name, split, clocked, sequences, realtime=realtime))
    print(table(rows))
    if record is not None:
        from lightvit_bench.openmmlab.recording import write_track_record
        from lightvit_bench.tracking.running.recording import Ran

        ran = Ran(name, split, root, sequences, not whole, folder, rows, device, threads)
        print(f"record: {write_track_record(record, cfg, path, tested, ran, remarks)}")
    return metrics(rows)


def refuse_options(*, show_dir: str | None, launcher: str) -> None:
    """`ConfigError` for options of tools/test.py that a tracker's test has no use for."""
    if show_dir is not None:
        raise ConfigError(
            "--show-dir is not for trackers.", do="tools/track.py SEQUENCE/img --out video.mp4"
        )
    if launcher != "none":
        raise ConfigError(
            f"--launcher {launcher} is not for testing trackers.", set="--processes N"
        )


def start_tracker(
    file: Path, spec: NetworkSpec, settings: Settings, device: str, threads: int
) -> AnyTracker:
    """The tracker of a file, in a process of its own that computes with so many threads."""
    import cv2
    import torch

    from lightvit_bench.tracking.files import load_tracker_model
    from lightvit_bench.tracking.tracker import Tracker

    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    changes = {name: getattr(spec, name) for name in _FREE}
    tracker = Tracker(load_tracker_model(file, device=device, **changes), settings)
    warm_up(tracker)
    return tracker


# ------------------------------------------------------------------------------------- what to run


def tested_of(
    cfg: Config,
    checkpoint: Path,
    folder: Path,
    changed: dict,
    precision: str | None,
    device: str,
) -> Tested | TestedFile:
    """What a checkpoint has to run: `tracker_of`, or `exported_of` of an exported file."""
    from lightvit_bench.tracking.export import spec_of

    if is_exported(checkpoint):
        config = Path(cfg.filename).name
        return exported_of(spec_of(cfg), config, checkpoint, changed, precision, device)
    if precision not in (None, "fp32"):
        raise ConfigError(
            f"--precision {precision} is for exported trackers: PyTorch computes in fp32.",
            do="tools/export.py CONFIG CHECKPOINT OUT.xml",
        )
    return replace(tracker_of(cfg, checkpoint, folder, changed), device=device)


def tracker_of(cfg: Config, checkpoint: Path, folder: Path, changed: dict) -> Tested:
    """The tracker in a checkpoint, which has to be the config's.

    A run's `.pth` becomes a tracker's file in `folder`, for the processes to load. Of a tracker's
    file, how many tokens are eliminated where is the config's choice; the rest of its network has
    to agree. Its settings are the file's own, those of a run the config's `tracker`, as
    `export_tracker` has them; `changed` replaces some.

    Raises:
        CheckpointError: it is missing, of another kind, damaged, or does not fit.
    """
    from lightvit_bench.tracking.export import settings_of, spec_of
    from lightvit_bench.tracking.files import load_tracker, save_tracker

    spec = spec_of(cfg)
    if not checkpoint.is_file():
        raise CheckpointError("there is no such checkpoint.", looked_for=str(checkpoint))
    if checkpoint.suffix == ".safetensors":
        _refuse_other_network(checkpoint, spec)
        _, manifest = load_tracker(checkpoint)
        return Tested(
            file=checkpoint,
            spec=spec,
            settings=with_settings(manifest.settings, **changed),
            image_mean=manifest.image_mean,
            image_std=manifest.image_std,
            sha256=sha256(checkpoint),
            prepare=lambda: None,
        )
    if checkpoint.suffix != ".pth":
        raise CheckpointError(
            "a tracker to test is a .safetensors file, a training run's .pth, or an exported one's "
            ".xml or .onnx.",
            file=str(checkpoint),
            of_ostrack="tools/convert_checkpoint.py FILE OUT.safetensors --from ostrack",
        )
    network, (mean, std) = network_of_run(cfg, checkpoint), normalisation_of(cfg)
    settings = settings_of(cfg, changed)
    file = folder / _EXPORTED
    prepare = partial(
        save_tracker,
        file,
        network,
        recipe=Path(cfg.filename).stem,
        settings=settings,
        image_mean=mean,
        image_std=std,
    )
    return Tested(file, spec, settings, mean, std, sha256(checkpoint), prepare)


def _refuse_other_network(file: Path, spec: NetworkSpec) -> None:
    from lightvit_bench.tracking.files import read_tracker_manifest

    stored, wanted = asdict(read_tracker_manifest(file).spec), asdict(spec)
    differ = [key for key in wanted if stored[key] != wanted[key]]
    if bound := [key for key in differ if key not in _FREE]:
        raise CheckpointError(
            "the tracker is of another network than the config's.",
            file=str(file),
            differs=[f"{key}: {stored[key]} in the file, {wanted[key]} here" for key in bound],
            set="--cfg-options model.network.NAME=...   (or model.backbone.preset=...)",
        )
    for key in differ:
        print(f"{key}: {wanted[key]}, as the config says; the file says {stored[key]}")


def network_of_run(cfg: Config, checkpoint: Path) -> OneStreamTracker:
    """The network of a training run's `.pth`, in eval mode; no code from the file is run.

    Raises:
        CheckpointError: the file is damaged, unsafe, no run's, or does not fit the config's model.
    """
    from lightvit_bench.openmmlab.checkpoints import read_run_checkpoint
    from lightvit_bench.tracking.export import refuse_other_config, spec_of

    content = read_run_checkpoint(checkpoint)
    weights = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(weights, dict):
        raise CheckpointError("the file is not a training run's.", file=str(checkpoint))
    weights = {name.removeprefix("network."): value for name, value in weights.items()}
    network = OneStreamTracker(spec_of(cfg))
    refuse_misfits(checkpoint, "model of the config", **misfits(weights, network.state_dict()))
    refuse_other_config(cfg, content.get("meta"), checkpoint)
    network.load_state_dict(weights)
    return network.eval()


def normalisation_of(cfg: Config) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation per RGB channel for pixels from 0 to 1; configs have them for 255."""
    section = cfg.model.get("data_preprocessor") or {}
    if "mean" not in section or "std" not in section:
        raise ConfigError("model.data_preprocessor has no mean and std.")
    # ImageNet's come out as the three decimals that everybody writes
    return tuple(
        tuple(round(float(value) / 255, 6) for value in section[key]) for key in ("mean", "std")
    )


def _check_numbers(
    processes: int | None, threads: int | None, realtime: float | None, device: str
) -> None:
    for flag, value in (("--processes", processes), ("--threads", threads)):
        if value is not None and value < 1:
            raise ConfigError(f"{flag} {value}: at least 1.")
    if realtime is not None and not (math.isfinite(realtime) and realtime > 0):
        raise ConfigError(f"--realtime {realtime:g}: a stream has more than 0 frames a second.")
    if device != "cpu":
        import torch

        try:
            torch.zeros(1, device=device)
        except (RuntimeError, AssertionError) as error:
            raise ConfigError(
                f"--device {device} cannot be used.", because=str(error).splitlines()[0]
            ) from None

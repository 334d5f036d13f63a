"""The log of pre-training: losses are read when the device has them, never waited for in a step."""

from __future__ import annotations

import resource
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
from mmengine.dist import all_gather_object, all_reduce, is_distributed
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from torch import Tensor

from lightvit_bench.errors import TrainingError, printable

_NAMED = 8  # images of a batch that an error names; a file has all


@dataclass
class Step:
    """What must be remembered of an iteration until its losses are known.

    Attributes:
        number: counted from 1.
        index: (B,), the images of this rank's batch, or None where the data does not say.
        losses: by name, once they are there.
    """

    number: int
    lr: float
    index: Tensor | None
    losses: dict[str, float] | None = None

    @property
    def finite(self) -> bool:
        """Whether all losses are."""
        return all(abs(loss) < float("inf") for loss in self.losses.values())


class LossQueue:
    """Losses on their way from the device, oldest first.

    On a GPU they are copied to pinned memory behind the step's own work; on a CPU they are there.
    """

    def __init__(self):
        self._pending: deque[tuple[Step, list[str], Tensor, torch.cuda.Event | None]] = deque()

    def put(self, step: Step, losses: dict[str, Tensor]) -> None:
        """Send the losses of a step, detached scalars, on their way."""
        values, event = torch.stack([loss.float() for loss in losses.values()]), None
        if values.is_cuda:
            host = torch.empty(len(values), pin_memory=True)
            host.copy_(values, non_blocking=True)
            values, event = host, torch.cuda.Event()
            event.record()
        self._pending.append((step, list(losses), values, event))

    def take(self, *, wait: bool = False) -> Iterator[Step]:
        """The steps whose losses have arrived; with `wait` all."""
        while self._pending:
            step, names, values, event = self._pending[0]
            if event is not None:
                if wait:
                    event.synchronize()
                elif not event.query():
                    return
            self._pending.popleft()
            step.losses = dict(zip(names, values.tolist(), strict=True))
            yield step


@HOOKS.register_module()
class TrainingLog(Hook):
    """One line for people and one of JSON now and then; ends the run at a loss that is not finite.

    In place of mmengine's `runtime_info`, `timer` and `logger`, which read every loss in the step
    that computed it, and so wait for the GPU:

        default_hooks = dict(
            runtime_info=None, timer=None, logger=dict(type="TrainingLog", interval=50)
        )

    The JSON goes through the visualizer: `vis_data/scalars.json`, TensorBoard if it is among the
    `vis_backends`. Of a distributed run losses are means over the ranks.

    Args:
        interval: iterations from line to line. Here, and at checkpoints, the GPU is waited for.

    Raises:
        TrainingError: a loss is NaN or infinite. On a GPU it may be noticed some steps later, by
            ranks together at the next line; always before a checkpoint is written.
    """

    priority = "BELOW_NORMAL"  # the learning rate is still the step's own

    def __init__(self, interval: int = 50):
        self.interval = interval
        self.queue = LossQueue()
        self.failed: Step | None = None  # the first one with a loss that is not finite
        self.latest: Step | None = None

    def before_train(self, runner) -> None:
        """Start the clocks."""
        self.started, self.first = time.perf_counter(), runner.iter
        self._start_interval(runner)

    def _start_interval(self, runner) -> None:
        self.sums, self.steps = defaultdict(float), 0
        self.since, self.waited = time.perf_counter(), runner.train_loop.waited

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Note the losses of a step, look at those that have arrived, print if it is time."""
        lr = max(group["lr"] for group in runner.optim_wrapper.optimizer.param_groups)
        index = data_batch.get("index") if isinstance(data_batch, dict) else None
        self.latest = Step(batch_idx + 1, lr, index)
        self.queue.put(self.latest, outputs)
        self._gather(wait=False)
        if self.failed is not None and not is_distributed():
            self.settle(runner)
        if (batch_idx + 1) % self.interval == 0 or batch_idx + 1 == runner.max_iters:
            self.settle(runner)
            self._print(runner, batch_idx + 1, lr)

    def on_stop(self, runner) -> None:
        """A signal ends the run: what is written so far must be in the files."""
        for backend in runner.visualizer._vis_backends.values():
            backend.close()

    def after_run(self, runner) -> None:
        """Close the files."""
        runner.visualizer.close()

    def settle(self, runner, *, weights: bool = False) -> None:
        """Wait for all losses so far; `TrainingError` on every rank if one of any is not finite.

        With `weights` those of the model too, which a gradient may spoil under a finite loss.
        """
        self._gather(wait=True)
        report = None
        if self.failed is not None:
            what = f"the loss is not finite in iteration {self.failed.number:,}"
            report = self._report(runner, self.failed, what)
        elif weights and not _weights_finite(runner.model):
            done = runner.iter + 1
            report = dict(number=done, what=f"weights are not finite after iteration {done:,}")
        reports = all_gather_object(report) if is_distributed() else [report]
        reports = sorted(filter(None, reports), key=lambda report: report["number"])
        if reports:  # the rank where it began: gradients have spread it since
            raise self._error(runner, reports[0])

    def error_now(self, runner, what: str) -> TrainingError:
        """The error of a run that is found broken behind its newest step; asks no other rank."""
        self._gather(wait=True)
        return self._error(runner, self._report(runner, self.latest, what))

    def _gather(self, *, wait: bool) -> None:
        """Add the losses that have arrived to the interval, up to one that is not finite."""
        for step in self.queue.take(wait=wait):
            if self.failed is None and not step.finite:
                self.failed = step
            self.steps += 1
            for name, loss in step.losses.items():
                self.sums[name] += loss

    def _report(self, runner, step: Step, what: str) -> dict:
        report = dict(
            number=step.number,
            what=what,
            losses=", ".join(f"{name} {loss:.4g}" for name, loss in step.losses.items()),
            learning_rate=f"{step.lr:.4g}",
        )
        names = getattr(runner.train_dataloader.dataset, "names", None)
        if step.index is not None and names is not None:
            images = [printable(name) for name in names(step.index.tolist())]
            path = Path(runner.work_dir) / f"not_finite_{step.number}_rank{runner.rank}.txt"
            where = str(path)
            try:
                path.write_text("\n".join(images) + "\n", encoding="utf-8")
            except OSError as error:  # a full disk must not hide what happened
                where = f"not written, {error}"
            report["images"] = [*images[:_NAMED], f"all {len(images):,} of the batch: {where}"]
        return report

    def _error(self, runner, report: dict) -> TrainingError:
        report = {label: text for label, text in report.items() if label != "number"}
        wrapper = runner.optim_wrapper
        tries = ["a lower learning rate: optim_wrapper.optimizer.lr, or a longer warm-up"]
        if getattr(wrapper, "cast_dtype", 0) in (None, torch.float16):
            tries.append("bfloat16 instead of float16: optim_wrapper.dtype=bfloat16")
        if not wrapper.clip_grad_kwargs:
            tries.append("bounded gradients: clip_grad=dict(max_norm=1.0) in optim_wrapper")
        return TrainingError(
            f"{report.pop('what')}.",
            **report,
            **{"try": tries, "last_good_checkpoint": str(runner.train_loop.saved or "none yet")},
        )

    def _print(self, runner, done: int, lr: float) -> None:
        names = list(self.sums)
        means = torch.tensor([self.sums[name] for name in names], dtype=torch.float64) / self.steps
        if is_distributed():
            means = means.float().to(runner_device(runner))
            all_reduce(means, "mean")
        losses = dict(zip(names, means.tolist(), strict=True))
        loop, now = runner.train_loop, time.perf_counter()
        seconds = now - self.since
        batch = runner.train_dataloader.batch_size * runner.world_size
        left = (now - self.started) / (done - self.first) * (runner.max_iters - done)
        record = {
            "epoch": round(done / loop.epoch_length, 4),
            "iteration": done,
            **losses,
            "lr": lr,
            "images_per_second": round(self.steps * batch / seconds, 2),
            "waiting": round((loop.waited - self.waited) / seconds, 4),
            "memory": memory(),
            "eta": round(left),
        }
        runner.visualizer.add_scalars(record, step=done)
        parts = [name for name in names if name != "loss"]
        shown = ", ".join(f"{name.removeprefix('loss_')} {losses[name]:.4f}" for name in parts)
        runner.logger.info(
            f"epoch {record['epoch']:.2f}/{loop.max_epochs}  "
            f"iteration {done:,}/{runner.max_iters:,}  loss {losses['loss']:.4f}"
            + (f" ({shown})" if len(parts) > 1 else "")
            + f"  lr {lr:.3g}  {record['images_per_second']:,.1f} images/s  "
            f"waiting for data {record['waiting']:.0%}  memory {record['memory']:,} MiB  "
            f"ETA {timedelta(seconds=record['eta'])}"
        )
        self._start_interval(runner)


def find_log(runner) -> TrainingLog | None:
    """The runner's `TrainingLog`, if it has one."""
    return next((hook for hook in runner.hooks if isinstance(hook, TrainingLog)), None)


def runner_device(runner) -> torch.device:
    """Where the runner's model is."""
    return next(runner.model.parameters()).device


def memory() -> int:
    """MiB at most allocated on the GPU, or at most resident of the process where there is none."""
    if torch.cuda.is_available():
        return round(torch.cuda.max_memory_allocated() / 2**20)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10)


@torch.no_grad()
def _weights_finite(model: torch.nn.Module) -> bool:
    weights = [p for p in model.parameters() if p.requires_grad]
    return bool(torch.stack([torch.isfinite(weight).all() for weight in weights]).all())

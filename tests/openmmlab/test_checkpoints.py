"""Checkpoints of runs: what is malicious runs nothing, what is torn is never there."""

import os
import pickle

import pytest
import torch
from mmengine.fileio import get_file_backend
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader, load_checkpoint
from torch import nn

from lightvit_bench.errors import CheckpointError
from lightvit_bench.openmmlab.checkpoints import (
    AtomicLocalBackend,
    latest_checkpoint,
    read_run_checkpoint,
    secure_mmengine,
)


class Touch:
    """Pickles to a call that creates a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


class Reach:
    """Pickles to getattr(HistoryBuffer, "__init__"): the real getattr would give it."""

    def __reduce__(self):
        return getattr, (HistoryBuffer, "__init__")


def save(path, **content):
    torch.save({"state_dict": nn.Linear(2, 2).state_dict(), **content}, path)
    return str(path)


@pytest.fixture(autouse=True)
def secured():
    secure_mmengine()


def test_a_run_checkpoint_with_its_log_history_loads(tmp_path):
    history = HistoryBuffer([1.0, 2.0], [1, 1])
    path = save(tmp_path / "iter_1.pth", message_hub={"log_scalars": {"loss": history}})
    loaded = read_run_checkpoint(path)
    assert loaded["message_hub"]["log_scalars"]["loss"].mean() == 1.5
    assert set(loaded["state_dict"]) == {"weight", "bias"}


@pytest.mark.parametrize("load", ["reader", "mmengine", "model"])
def test_malicious_pickle_runs_nothing(tmp_path, load):
    marker = tmp_path / "made"
    path = save(tmp_path / "iter_1.pth", message_hub=Touch(marker))
    with pytest.raises(CheckpointError, match="mkdir"):
        if load == "reader":
            read_run_checkpoint(path)
        elif load == "mmengine":
            CheckpointLoader.load_checkpoint(path)
        else:
            load_checkpoint(nn.Linear(2, 2), path)
    assert not marker.exists()


def test_legacy_pickle_runs_nothing(tmp_path):
    marker, path = tmp_path / "made", tmp_path / "iter_1.pth"
    path.write_bytes(pickle.dumps({"state_dict": Touch(marker)}))
    with pytest.raises(CheckpointError):
        CheckpointLoader.load_checkpoint(str(path))
    assert not marker.exists()


def test_getattr_reaches_statistics_only(tmp_path):
    with pytest.raises(CheckpointError):
        read_run_checkpoint(save(tmp_path / "iter_1.pth", message_hub=Reach()))


def test_config_in_the_meta_data_is_not_kept(tmp_path):
    """mmengine's resume would execute it."""
    path = save(tmp_path / "iter_1.pth", meta={"config": "import os", "cfg": "x = 1", "iter": 1})
    assert read_run_checkpoint(path)["meta"] == {"cfg": "x = 1", "iter": 1}


@pytest.mark.parametrize(
    "address", ["https://example.org/iter_1.pth", "torchvision://resnet50", "open-mmlab://x"]
)
def test_addresses_are_refused(address):
    with pytest.raises(CheckpointError, match="download it"):
        CheckpointLoader.load_checkpoint(address)


def test_truncated_checkpoint_is_named(tmp_path):
    path = tmp_path / "iter_1.pth"
    save(path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(CheckpointError, match="iter_1.pth"):
        read_run_checkpoint(str(path))


def test_mmengine_writes_aside(tmp_path, monkeypatch):
    """A write that dies half-way leaves the old file."""
    backend = get_file_backend(str(tmp_path), backend_args={"backend": "local"})
    assert isinstance(backend, AtomicLocalBackend)
    path = tmp_path / "iter_1.pth"
    backend.put(b"old", path)

    def die(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", die)
    with pytest.raises(KeyboardInterrupt):
        backend.put(b"new", path)
    assert path.read_bytes() == b"old"


def test_latest_goes_by_number(tmp_path):
    assert latest_checkpoint(tmp_path) is None
    for name in ("iter_900.pth", "iter_1000.pth", "iter_1200.pth.part", "best_mIoU_iter_2000.pth"):
        (tmp_path / name).touch()
    assert latest_checkpoint(tmp_path).name == "iter_1000.pth"

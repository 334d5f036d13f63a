"""A detector's run that was interrupted goes on as if it had not been."""

import shutil

import pytest
import torch

from lightvit_bench.openmmlab.checkpoints import read_run_checkpoint
from lightvit_bench.openmmlab.run import train


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
def test_resumed_run_ends_with_the_weights_of_an_undisturbed_one(tiny_detector, tmp_path):
    options = ["train_dataloader.num_workers=0", "train_dataloader.persistent_workers=False"]
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    train(str(tiny_detector), work_dir=str(whole), cfg_options=options)
    resumed.mkdir()
    shutil.copy(whole / "iter_3.pth", resumed)
    (resumed / "last_checkpoint").write_text(str(resumed / "iter_3.pth"))
    train(str(tiny_detector), work_dir=str(resumed), resume=True, cfg_options=options)
    start, end, again = (
        read_run_checkpoint(path)["state_dict"]
        for path in (whole / "iter_3.pth", whole / "iter_6.pth", resumed / "iter_6.pth")
    )
    assert end.keys() == again.keys()
    assert all(torch.equal(end[name], again[name]) for name in end)
    moved = [name for name in end if not torch.equal(start[name], end[name])]
    assert any("roi_head" in name for name in moved) and any("rel_pos" in name for name in moved)

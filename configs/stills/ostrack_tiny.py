# A tracker from still photographs; the second of two parts: the whole search region, and candidate
# elimination from 600 iterations on. Starts from what configs/stills/ostrack_near_tiny.py
# leaves. The weights that come with this package were trained so (docs/tracking.md).
_base_ = "./ostrack_near_tiny.py"
load_from = "work_dirs/stills/ostrack_near_tiny/iter_4000.pth"
iters = 2000
model = dict(keep_schedule=dict(begin=6, end=12))  # of 20 epochs of 100 iterations
train_dataloader = dict(dataset=dict(search_size=256, search_factor=4.0))
optim_wrapper = dict(optimizer=dict(lr=5e-4))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, by_epoch=False, begin=0, end=50),
    dict(type="CosineAnnealingLR", eta_min=5e-6, by_epoch=False, begin=50, end=iters),
]
train_cfg = dict(type="IterBasedTrainLoop", max_iters=iters, val_interval=iters + 1)
default_hooks = dict(checkpoint=dict(interval=200, max_keep_ckpts=2))
custom_hooks = [
    dict(type="ReplayableIterations"),
    dict(type="KeepRate", epoch_length=100),
]

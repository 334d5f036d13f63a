# A tracker from still photographs, without any video and from random weights, on two CPU cores; the
# first of two parts. Here the search region is the middle of the real one, 128 px cut out with a
# factor of 2 at the same scale: 128 tokens instead of 320, and four times as many pairs a second.
#
#   tools/train.py configs/stills/ostrack_near_tiny.py --cfg-options data_root=DIR
#   tools/train.py configs/stills/ostrack_tiny.py --cfg-options data_root=DIR
#
# DIR has photos/ (photographs, in folders or not) and coco/ (COCO's layout).
_base_ = [
    "../_base_/models/ostrack_vit_tiny.py",
    "../_base_/datasets/still_pairs.py",
    "../_base_/tracking_runtime.py",
]
iters = 4000
model = dict(
    backbone=dict(
        drop_path=0.0,  # 128,000 pairs are too few to overfit
        # Tokens attend to what is like them from the start: little is seen, and comparing is what
        # is to be learned.
        attention="mimetic",
    ),
    keep_schedule=dict(begin=1, end=2),  # in epochs of `KeepRate`: never reached here
    # The box of the true cell learns from every pair; that of the highest score, which the authors
    # train, is a wrong one most of the time here.
    box_of="truth",
)
train_dataloader = dict(dataset=dict(search_size=128, search_factor=2.0))
optim_wrapper = dict(
    type="AmpOptimWrapper",
    loss_scale="dynamic",
    optimizer=dict(type="AdamW", lr=8e-4, betas=(0.9, 0.98), weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=150),
]
train_cfg = dict(type="IterBasedTrainLoop", max_iters=iters, val_interval=iters + 1)
default_hooks = dict(
    logger=dict(interval=50), checkpoint=dict(interval=500, max_keep_ckpts=2)
)
custom_hooks = [
    dict(type="ReplayableIterations"),
    dict(type="KeepRate", epoch_length=iters),
]

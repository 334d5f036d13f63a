# The demo: configs/ade20k/upernet_random_tiny.py shrunk to what two CPU cores learn in a minute or
# two, on generated pictures in ADE20K's layout. `make demo` runs it (tools/demo.py).
_base_ = "../ade20k/upernet_random_tiny.py"
data_root = "data/demo/ADEChallengeData2016"
crop_size = (128, 128)
iters = 180
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", reduce_zero_label=True),
    dict(type="RandomResize", scale=(160, 160), ratio_range=(0.8, 1.5), keep_ratio=True),
    dict(type="RandomCrop", crop_size=crop_size, cat_max_ratio=0.9),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackSegInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", reduce_zero_label=True),
    dict(type="PackSegInputs"),
]
model = dict(
    data_preprocessor=dict(size=crop_size, window=128),
    backbone=dict(img_size=128),
    decode_head=dict(num_classes=7, channels=64),
    auxiliary_head=dict(num_classes=7, channels=64),
    test_cfg=dict(mode="slide", crop_size=crop_size, stride=(32, 32)),
)
train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    dataset=dict(type="DemoADE", data_root=data_root, pipeline=train_pipeline),
)
val_dataloader = dict(
    num_workers=1, dataset=dict(type="DemoADE", data_root=data_root, pipeline=test_pipeline)
)
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-3, by_epoch=False, begin=0, end=10),
    dict(type="PolyLR", eta_min=0.0, power=1.0, by_epoch=False, begin=10, end=iters),
]
auto_scale_lr = dict(base_batch_size=8)
train_cfg = dict(max_iters=iters, val_begin=iters + 1)  # tested once, afterwards
default_hooks = dict(checkpoint=dict(interval=iters, max_keep_ckpts=1))
custom_hooks = [dict(type="ReplayableIterations"), dict(type="ProgressLines", interval=20)]
log_level = "ERROR"  # the lines of ProgressLines say enough

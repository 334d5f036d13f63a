# The demo: configs/coco/rtmdet_dmae_tiny.py shrunk to what two CPU cores learn in two minutes, on
# generated pictures in COCO's layout. `make demo` runs it (tools/demo.py).
_base_ = "../coco/rtmdet_dmae_tiny.py"
data_root = "data/demo/coco"
image_size = (160, 160)
iters = 450
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="RandomFlip", prob=0.5),
    dict(
        type="RandomResize",
        scale=image_size,
        ratio_range=(0.8, 1.4),
        keep_ratio=True,
        resize_type="Resize",
        backend="pillow",
    ),
    dict(type="CropToMasks", crop_type="absolute", crop_size=image_size, allow_negative_crop=True),
    dict(type="FilterAnnotations", min_gt_bbox_wh=(1e-2, 1e-2), keep_empty=False),
    dict(type="PackDetInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=image_size, keep_ratio=True, backend="pillow"),
    dict(
        type="PackDetInputs",
        meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor"),
    ),
]
model = dict(
    data_preprocessor=dict(pad_size_divisor=160),
    backbone=dict(init="random", rel_pos_size=160, window=5, checkpointing=False),
    neck=dict(out_channels=64),
    bbox_head=dict(num_classes=6, in_channels=64, feat_channels=64),
)
train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    dataset=dict(type="DemoCOCO", data_root=data_root, pipeline=train_pipeline),
)
val_dataloader = dict(
    num_workers=1, dataset=dict(type="DemoCOCO", data_root=data_root, pipeline=test_pipeline)
)
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(lr=1.5e-3))
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-3, by_epoch=False, begin=0, end=10),
    dict(type="PolyLR", eta_min=0.0, power=1.0, by_epoch=False, begin=10, end=iters),
]
auto_scale_lr = dict(base_batch_size=8)
train_cfg = dict(max_iters=iters, val_begin=iters + 1)  # tested once, afterwards
default_hooks = dict(checkpoint=dict(interval=iters, max_keep_ckpts=1))
custom_hooks = [dict(type="ReplayableIterations"), dict(type="ProgressLines", interval=50)]
log_level = "ERROR"  # the lines of ProgressLines say enough

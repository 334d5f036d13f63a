# Mask R-CNN on a ViT-Tiny sized for two CPU cores: images of 384 px, 128 channels in neck and heads,
# fewer proposals and regions, 2 images an iteration; mixed precision (bfloat16 on a CPU). Half an
# hour. No augmentation: what it is for is to see that data and model learn (docs/results.md).
#
#   tools/train.py configs/coco/mask_rcnn_dmae_tiny_cpu.py --cfg-options data_root=... init=...
_base_ = "./mask_rcnn_dmae_tiny.py"
image_size = (384, 384)
channels, iters = 128, 2000
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
    dict(type="Resize", scale=image_size, keep_ratio=True, backend="pillow"),
    dict(type="FilterAnnotations", min_gt_bbox_wh=(1e-2, 1e-2), by_mask=True, keep_empty=False),
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
pooled = dict(roi_layer=dict(sampling_ratio=2), out_channels=channels)
model = dict(
    data_preprocessor=dict(pad_size_divisor=384),
    backbone=dict(rel_pos_size=384, window=12, checkpointing=False),
    neck=dict(out_channels=channels),
    rpn_head=dict(
        in_channels=channels, feat_channels=channels, anchor_generator=dict(scales=[4])
    ),
    roi_head=dict(
        bbox_roi_extractor=pooled,
        bbox_head=dict(in_channels=channels, conv_out_channels=channels, fc_out_channels=512),
        mask_roi_extractor=pooled,
        mask_head=dict(in_channels=channels, conv_out_channels=channels),
    ),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=500, max_per_img=200), rcnn=dict(sampler=dict(num=64))
    ),
    test_cfg=dict(rpn=dict(nms_pre=500, max_per_img=200)),
)
train_dataloader = dict(batch_size=2, num_workers=1, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(num_workers=1, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(lr=3e-4), clip_grad=dict(max_norm=1.0))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=50),
    dict(type="PolyLR", eta_min=0.0, power=1.0, by_epoch=False, begin=50, end=iters),
]
auto_scale_lr = dict(base_batch_size=2)
train_cfg = dict(max_iters=iters, val_interval=iters // 4)
default_hooks = dict(checkpoint=dict(interval=iters // 4))

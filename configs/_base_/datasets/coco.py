# COCO 2017, 80 classes, boxes and masks, at 640 px: flipped, resized to 0.1 to 2 times the size
# that fits into 640 x 640 (large-scale jitter), cut to 640 x 640 where larger.
# Layout: docs/datasets.md#coco
data_root = "data/coco"
image_size = (640, 640)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
    dict(type="RandomFlip", prob=0.5),
    dict(
        type="RandomResize",
        scale=image_size,
        ratio_range=(0.1, 2.0),
        keep_ratio=True,
        resize_type="Resize",
        backend="pillow",  # detectron2's: it filters when it shrinks, OpenCV does not
    ),
    dict(
        type="CropToMasks",
        crop_type="absolute",
        crop_size=image_size,
        allow_negative_crop=True,
    ),
    # An image that the cut left without objects is trained on as well, as by detectron2.
    dict(type="FilterAnnotations", min_gt_bbox_wh=(1e-2, 1e-2), by_mask=True, keep_empty=False),
    dict(type="PackDetInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=image_size, keep_ratio=True, backend="pillow"),
    # The truth is not loaded: the evaluator reads it from the annotation file.
    dict(
        type="PackDetInputs",
        meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor"),
    ),
]
train_dataloader = dict(
    batch_size=64,  # auto_scale_lr scales the rate when this, times the GPUs, is not 64
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type="ReplayableSampler", shuffle=True),
    dataset=dict(
        type="COCO",
        data_root=data_root,
        ann_file="annotations/instances_train2017.json",
        data_prefix=dict(img="train2017/"),
        filter_cfg=dict(filter_empty_gt=True, min_size=0),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="COCO",
        data_root=data_root,
        ann_file="annotations/instances_val2017.json",
        data_prefix=dict(img="val2017/"),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="CocoAP", metric=["bbox", "segm"])
test_evaluator = val_evaluator

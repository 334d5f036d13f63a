# RTMDet's one-stage head on a ViT-Tiny, for CPUs: ViTDet's encoder, a pyramid of 96 channels at
# strides 8, 16 and 32, one location a cell and no anchors. Head and assigner as RTMDet-tiny has
# them. Boxes alone.
_base_ = "./vit_tiny_detector.py"
norm_cfg = dict(type="LN2d", eps=1e-6)
model = dict(
    type="RTMDet",
    neck=dict(
        type="SimpleFeaturePyramid",
        in_channels=192,
        out_channels=96,
        scales=(2, 1, 0.5),
        num_outs=3,
        norm_cfg=norm_cfg,
    ),
    bbox_head=dict(
        type="RTMDetSepBNHead",
        num_classes=80,
        in_channels=96,
        feat_channels=96,
        stacked_convs=2,
        anchor_generator=dict(type="MlvlPointGenerator", offset=0, strides=[8, 16, 32]),
        bbox_coder=dict(type="DistancePointBBoxCoder"),
        loss_cls=dict(type="QualityFocalLoss", use_sigmoid=True, beta=2.0, loss_weight=1.0),
        loss_bbox=dict(type="GIoULoss", loss_weight=2.0),
        with_objectness=False,
        exp_on_reg=False,
        share_conv=True,
        pred_kernel_size=1,
        norm_cfg=dict(type="SyncBN"),
        act_cfg=dict(type="SiLU", inplace=True),
    ),
    train_cfg=dict(
        assigner=dict(type="DynamicSoftLabelAssigner", topk=13),
        allowed_border=-1,
        pos_weight=-1,
        debug=False,
    ),
    test_cfg=dict(
        nms_pre=1000, min_bbox_size=0, score_thr=0.05, nms=dict(type="nms", iou_threshold=0.6),
        max_per_img=100,
    ),
)  # fmt: skip

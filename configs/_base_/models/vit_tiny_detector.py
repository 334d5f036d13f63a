# What the detectors share: a ViT-Tiny run as ViTDet runs its encoder, and its input.
model = dict(
    data_preprocessor=dict(
        type="DetDataPreprocessor",
        mean=[123.675, 116.28, 103.53],  # ImageNet, RGB, 0 to 255
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_mask=True,
        # Images of 640 px at most are filled up to squares of 640, after normalising: the tables
        # of relative positions fit, and no image is stretched. A larger one is filled up to 1280.
        pad_size_divisor=640,
    ),
    backbone=dict(
        type="ViTBackbone",
        preset="vit_tiny_p16_h12",
        out_blocks=(11,),
        cls_token=False,
        # The position table stays as it was pre-trained, 14 x 14, and is resampled at every step.
        rel_pos="decomposed",  # starting at zero
        rel_pos_size=640,
        window=14,
        global_blocks=(2, 5, 8, 11),
        checkpointing=True,
    ),
)

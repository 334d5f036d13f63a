# What the segmentation models share: a ViT-Tiny with MAE-Lite's 12 heads and its input.
data_preprocessor = dict(
    type="PatchPadPreProcessor",
    mean=[123.675, 116.28, 103.53],  # ImageNet, RGB, 0 to 255
    std=[58.395, 57.12, 57.375],
    bgr_to_rgb=True,
    pad_val=0,
    seg_pad_val=255,
    size=(512, 512),
    window=512,
)
backbone = dict(
    type="ViTBackbone",
    preset="vit_tiny_p16_h12",
    img_size=512,  # position table of 32 x 32, resampled once when the checkpoint is loaded
    out_blocks=(3, 5, 7, 11),
    drop_path=0.1,
    rel_pos=True,  # 63 * 63 + 3 entries a block, starting at zero
    layer_scale=1.0,
)
model = dict(
    type="EncoderDecoder",
    data_preprocessor=data_preprocessor,
    backbone=backbone,
    train_cfg=dict(),
    test_cfg=dict(mode="slide", crop_size=(512, 512), stride=(341, 341)),
)

# Semantic FPN on a Hiera-Tiny: its four stages are the pyramid that fpn_vit_tiny.py has to make.
# The neck has that one's 48 channels, the head is the same: 0.12 M + 0.68 M parameters.
norm_cfg = dict(type="SyncBN", requires_grad=True)
data_preprocessor = dict(
    type="PatchPadPreProcessor",
    mean=[123.675, 116.28, 103.53],  # ImageNet, RGB, 0 to 255
    std=[58.395, 57.12, 57.375],
    bgr_to_rgb=True,
    pad_val=0,
    seg_pad_val=255,
    size=(512, 512),
    window=512,
    patch=32,  # a mask unit
)
model = dict(
    type="EncoderDecoder",
    data_preprocessor=data_preprocessor,
    backbone=dict(
        type="HieraBackbone",
        preset="hiera_tiny",
        img_size=512,  # position table of 128 x 128, resampled once when the checkpoint is loaded
        out_stages=(0, 1, 2, 3),
        drop_path=0.1,
    ),
    neck=dict(type="FPN", in_channels=[46, 92, 184, 368], out_channels=48, num_outs=4),
    decode_head=dict(
        type="FPNHead",
        in_channels=[48, 48, 48, 48],
        in_index=[0, 1, 2, 3],
        feature_strides=[4, 8, 16, 32],
        channels=128,
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode="slide", crop_size=(512, 512), stride=(341, 341)),
)

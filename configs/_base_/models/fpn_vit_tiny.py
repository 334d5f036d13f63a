# The authors' Semantic FPN on a ViT-Tiny: a neck that reduces to a quarter of the width, 48
# channels, at strides 4 to 32, and a head of 128 channels. 0.10 M + 0.68 M parameters.
_base_ = "./vit_tiny_segmentor.py"
norm_cfg = dict(type="SyncBN", requires_grad=True)
model = dict(
    neck=dict(type="ReducingPyramid", in_channels=192, factor=0.25, norm_cfg=norm_cfg),
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
)

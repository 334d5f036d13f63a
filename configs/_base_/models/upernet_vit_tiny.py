# UPerNet on a ViT-Tiny: the pyramid by transposed convolutions of BEiT and MAE, and a head as wide
# as the encoder, which is their rule (768 for ViT-Base). At 192 channels neck and head do 3 times
# the encoder's work; at mmsegmentation's 512 it would be 20 times (tools/get_flops.py).
_base_ = "./vit_tiny_segmentor.py"
norm_cfg = dict(type="SyncBN", requires_grad=True)
model = dict(
    neck=dict(type="Feature2Pyramid", embed_dim=192, rescales=[4, 2, 1, 0.5], norm_cfg=norm_cfg),
    decode_head=dict(
        type="UPerHead",
        in_channels=[192, 192, 192, 192],
        in_index=[0, 1, 2, 3],
        pool_scales=(1, 2, 3, 6),
        channels=192,
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
    ),
    auxiliary_head=dict(
        type="FCNHead",
        in_channels=192,
        in_index=2,
        channels=192,
        num_convs=1,
        concat_input=False,
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=0.4),
    ),
)

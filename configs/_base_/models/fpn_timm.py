# Semantic FPN on a model of timm: mmsegmentation's neck of 256 channels and its head of 128. The
# channels of the backbone are asked of timm when the config is loaded; tools/print_config.py shows
# them. Neck and head of fpn_vit_tiny.py are smaller. To compare with it at equal width:
#   --cfg-options model.neck.out_channels=48 model.decode_head.in_channels=48,48,48,48
_base_ = "./vit_tiny_segmentor.py"
norm_cfg = dict(type="SyncBN", requires_grad=True)
model = dict(
    data_preprocessor=dict(patch=32),  # the coarsest stride
    backbone=dict(
        _delete_=True,
        type="TimmBackbone",
        init="pretrained",  # timm's own weights, fetched by timm; or a file, or "random"
        out_strides=(4, 8, 16, 32),
    ),
    neck=dict(type="FPN", in_channels="backbone", out_channels=256, num_outs=4),
    decode_head=dict(
        type="FPNHead",
        in_channels=[256, 256, 256, 256],
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

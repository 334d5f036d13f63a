# Mask R-CNN on a model of timm: the heads of mask_rcnn_vit_tiny.py, and mmdetection's FPN with that
# one's 256 channels and norms in the place of its pyramid. The channels of the backbone are asked
# of timm when the config is loaded; tools/print_config.py shows them.
_base_ = "./mask_rcnn_vit_tiny.py"
model = dict(
    # Images are filled up to the coarsest stride: windows and tables that want squares are a ViT's.
    data_preprocessor=dict(pad_size_divisor=32),
    backbone=dict(
        _delete_=True,
        type="TimmBackbone",
        init="pretrained",  # timm's own weights, fetched by timm; or a file, or "random"
        out_strides=(4, 8, 16, 32),
    ),
    neck=dict(
        _delete_=True,
        type="FPN",
        in_channels="backbone",
        out_channels=256,
        num_outs=5,  # the fifth is pooled
        norm_cfg=dict(type="LN2d", eps=1e-6),
    ),
)

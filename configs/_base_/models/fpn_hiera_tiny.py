# Semantic FPN on a Hiera-Tiny: its four stages are the pyramid that fpn_vit_tiny.py has to make.
# The neck has that one's 48 channels, the head is that one: 0.12 M + 0.68 M parameters.
_base_ = "./fpn_vit_tiny.py"
model = dict(
    data_preprocessor=dict(patch=32),  # a mask unit
    backbone=dict(
        _delete_=True,
        type="HieraBackbone",
        preset="hiera_tiny",
        img_size=512,  # position table of 128 x 128, resampled once when the checkpoint is loaded
        out_stages=(0, 1, 2, 3),
        drop_path=0.1,
    ),
    neck=dict(
        _delete_=True, type="FPN", in_channels=[46, 92, 184, 368], out_channels=48, num_outs=4
    ),
)

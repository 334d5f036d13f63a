# OSTrack on a ViT-Tiny of 3 heads of 64 channels, DeiT's and timm's, instead of 12 of 16; otherwise
# ostrack_dmae_tiny.py. Convert the weights with --from deit.
_base_ = "./ostrack_dmae_tiny.py"
model = dict(
    backbone=dict(
        preset="vit_tiny_p16_h3", init="checkpoints/deit_tiny_h3.safetensors", norm="file"
    )
)

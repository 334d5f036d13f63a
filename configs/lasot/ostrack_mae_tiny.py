# OSTrack, ViT-Tiny pre-trained with MAE; otherwise ostrack_dmae_tiny.py.
_base_ = "./ostrack_dmae_tiny.py"
model = dict(backbone=dict(init="checkpoints/mae_tiny.safetensors"))

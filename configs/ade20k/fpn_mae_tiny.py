# Semantic FPN, ViT-Tiny pre-trained with MAE, without a teacher; otherwise fpn_dmae_tiny.py.
_base_ = "./fpn_dmae_tiny.py"
model = dict(backbone=dict(init="checkpoints/mae_tiny.safetensors"))

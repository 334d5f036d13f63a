# UPerNet, ViT-Tiny pre-trained with MAE, without a teacher; otherwise upernet_dmae_tiny.py.
_base_ = "./upernet_dmae_tiny.py"
model = dict(backbone=dict(init="checkpoints/mae_tiny.safetensors"))

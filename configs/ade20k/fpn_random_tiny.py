# Semantic FPN, ViT-Tiny from random weights; otherwise fpn_dmae_tiny.py. Without pre-training no
# layer is worth protecting: all learn at the full rate.
_base_ = "./fpn_dmae_tiny.py"
model = dict(backbone=dict(init="random"))
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=1.0))

# Semantic FPN, ViT-Tiny from random weights; otherwise fpn_dmae_tiny.py.
_base_ = "./fpn_dmae_tiny.py"
model = dict(backbone=dict(init="random"))

# UPerNet, ViT-Tiny from random weights; otherwise upernet_dmae_tiny.py.
_base_ = "./upernet_dmae_tiny.py"
model = dict(backbone=dict(init="random"))

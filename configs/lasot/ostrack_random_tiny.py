# OSTrack, ViT-Tiny from random weights; otherwise ostrack_dmae_tiny.py.
_base_ = "./ostrack_dmae_tiny.py"
model = dict(backbone=dict(init="random"))

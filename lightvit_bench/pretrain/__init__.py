"""Masked pre-training: MAE, D-MAE, D²-MAE, relations; image sources and the trainer's parts."""

from lightvit_bench import compat

compat.prepare()  # timm and mmengine's environment report import torchvision

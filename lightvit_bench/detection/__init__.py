"""What mmdetection lacks: checked data sets, ViTDet's pyramid, AP in percent, overlays."""

from lightvit_bench import compat

compat.prepare()  # before timm is imported
compat.import_mmdet()

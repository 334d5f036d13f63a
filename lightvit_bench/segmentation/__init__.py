"""What mmsegmentation lacks: checked data, the authors' neck, small images, overlays."""

from lightvit_bench import compat

compat.prepare()
compat.import_mmseg()

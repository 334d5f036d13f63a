"""What mmsegmentation lacks: checked data sets, the authors' neck, padding of small images, overlays."""

from lightvit_bench import compat

compat.prepare()
compat.import_mmseg()

"""Where OpenMMLab finds what detectors need beside `lightvit_bench.registry`.

custom_imports = dict(imports=["lightvit_bench.registry", "lightvit_bench.detection.registry"])
"""

from lightvit_bench.detection import datasets, metric, neck, overlay, transforms  # noqa: F401

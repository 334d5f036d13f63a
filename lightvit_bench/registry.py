"""Where OpenMMLab finds our classes: `custom_imports = dict(imports=["lightvit_bench.registry"])`.

Everything is registered once, in mmengine's root registries; mmseg and mmdet look there through
their parents, so one backbone serves both and no config needs a scope prefix. What needs mmdet is
in `lightvit_bench.detection.registry`: detectors import both, and nobody else waits for mmdet.
"""

from lightvit_bench.openmmlab import (  # noqa: F401
    backbone,
    device,
    layer_decay,
    progress,
    replay,
    timm_backbone,
)
from lightvit_bench.pretrain import (  # noqa: F401
    dataset,
    ema,
    export,
    log,
    loop,
    model,
    optim,
    pictures,
    resume,
    sampler,
    schedule,
    signals,
    step,
)
from lightvit_bench.segmentation import datasets, neck, overlay, preprocessor  # noqa: F401
from lightvit_bench.tracking.training import datasets as tracking_datasets  # noqa: F401
from lightvit_bench.tracking.training import model as tracking_model  # noqa: F401

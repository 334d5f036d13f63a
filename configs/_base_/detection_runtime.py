# What a run of a detector has beside configs/_base_/runtime.py.
_base_ = "./runtime.py"
default_scope = "mmdet"
custom_imports = dict(imports=["lightvit_bench.registry", "lightvit_bench.detection.registry"])
visualizer = dict(
    type="DetLocalVisualizer", vis_backends=[dict(type="LocalVisBackend")], name="visualizer"
)
default_hooks = dict(checkpoint=dict(interval=5000))

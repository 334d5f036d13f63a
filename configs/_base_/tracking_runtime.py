# What a run of a tracker has beside configs/_base_/runtime.py.
_base_ = "./runtime.py"
visualizer = dict(type="Visualizer", vis_backends=[dict(type="LocalVisBackend")])

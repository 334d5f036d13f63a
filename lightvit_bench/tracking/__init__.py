"""Single-object tracking: crops, the one-stream network, its training, and the tracker itself.

`crops`, `tracker` and what they import need numpy and OpenCV alone; torch is imported by the
network and its training, mmengine by the modules that a config names.
"""

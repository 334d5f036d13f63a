"""Computing an exported tracker without PyTorch.

    exported          what a file says about itself, and whether it is whole
    base              what the runtimes share
    openvino_model    NAME.xml, NAME.bin
    onnx_model        NAME.onnx
    load              a file to the model that computes it
    cache             the exported form of weights, kept for this user

numpy, OpenCV and one runtime; torch is imported by `load` and `cache` for weights that were not
exported, and by nothing else here.
"""

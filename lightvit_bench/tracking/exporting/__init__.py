"""From a trained network to an exported file.

    graph       the network rewritten for one frame: the same numbers, fewer operations
    crops       what it is calibrated on and compared on
    quantise    int8
    parity      its boxes against PyTorch's
    write       all of it: what tools/export.py does

Needs torch, and the packages of the extra "export". What is exported runs without (`runtimes`).
"""

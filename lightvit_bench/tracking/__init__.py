"""Single-object tracking: from two crops to a box, and from a box file to a score.

    the tracker     crops, answers, tracker, multi, torch_model; baselines to compare with
    the network     network, heads, pruning; files, published, export
    training        pairs from videos and what is trained on them; synthetic: from photographs
    exporting       a network to one file for a CPU; runtimes: computing it there
    watching        tools/track.py and the demo
    running         over data sets; judging: the scores
    latency         how long it takes

The tracker, its runtimes, watching and judging need numpy and OpenCV alone, and torch only where it
computes the network; mmengine is imported by training, and by what reads a config or a run's
checkpoint.
"""

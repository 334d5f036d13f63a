"""Single-object tracking: from two crops to a box, and from a box file to a score.

    the tracker     crops, tracker, torch_model; baselines to compare with
    the network     network, heads, pruning, losses, start; files, published, export
    pairs           pairs, pair_sampler, augment (videos); synthetic* (photographs)
    training        model, datasets, schedule, prepare, bench_pairs (mmengine; configs name them)
    watching        follow, track_video, draw, strip, demo
    judging         run_* (over data sets), realtime, judge, plots, submission

The tracker, watching and judging need numpy and OpenCV alone, and torch only where it computes the
network; mmengine is imported by training, and by what reads a config or a run's checkpoint.
"""

"""Training a tracker: pairs from videos, losses, the schedule; what mmengine configs name.

pairs, pair_sampler, augment    what is drawn from videos
datasets, bench_pairs           as a data set, and how fast
model, losses, schedule, start  what is optimised, and from what
prepare                         a config made ready to run
"""

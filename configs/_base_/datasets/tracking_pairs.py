# Pairs from LaSOT, GOT-10k, TrackingNet and COCO (stills), 1 : 1 : 1 : 1, 60,000 an epoch.
# Layouts: docs/datasets.md#tracking
#
# A set with ratio=0 is left out and need not be there: train_dataloader.dataset.sets.3.ratio=0 is
# a training without TrackingNet. Annotations are read at start-up, all of a set of at most 1,500
# sequences and as many of a larger one (`check`); of frames, `unreadable=10` are replaced.
#
# The authors leave 1,000 sequences of GOT-10k's train split out that VOT's rules forbid
# ("vottrain"). The list is theirs: give it as `exclude` of that set if your results are to be
# compared on VOT. Scores on LaSOT do not need it.
data_root = "data"
pairs = dict(
    gap=200,  # frames between template and search region, template first
    template_size=128,
    template_factor=2.0,
    search_size=256,
    search_factor=4.0,
    centre_jitter=3.0,  # of the box that the search region is cut around; the template has none
    scale_jitter=0.25,
)
train_dataloader = dict(
    batch_size=32,  # of each process; the authors' 128 are 4 GPUs
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    collate_fn=dict(type="default_collate"),
    sampler=dict(type="ReplayableSampler", shuffle=True),
    dataset=dict(
        type="VideoPairs",
        data_root=data_root,
        samples_per_epoch=60000,
        sets=[
            dict(name="lasot", root="lasot", split="train", ratio=1),
            dict(name="got10k", root="got10k", split="train", ratio=1),
            dict(name="coco", root="coco", split="train", ratio=1),
            dict(name="trackingnet", root="trackingnet", split="train", ratio=1),
        ],
        **pairs,
    ),
)
# Held-out sequences: the same 10,000 pairs each time, jittered but not augmented.
val_dataloader = dict(
    batch_size=32,
    num_workers=8,
    persistent_workers=True,
    collate_fn=dict(type="default_collate"),
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="VideoPairs",
        data_root=data_root,
        samples_per_epoch=10000,
        sets=[dict(name="got10k", root="got10k", split="val", ratio=1)],
        augment=False,
        **pairs,
    ),
)
val_evaluator = dict(type="PairIoU")
del pairs  # it has its places; an option pairs.gap=... would change nothing
# What tools/test.py runs the tracker over.
test_set = dict(name="lasot", root="lasot", split="test", data_root=data_root)
# The box moves on whatever the score, as the authors' does: their training shows no search region
# without the target, so a low score does not mean that it is gone.
tracker = dict(hold=False)

# The second of two parts: in the first block 30 % of the search tokens stay, 77 of 256, those to
# which the template's middle token attends most, weighed with a Gaussian on the last box. The share
# falls from 1 to 0.3 during 10 epochs of 50, along half a cosine. Goes on from what
# mast_dense_dmae_tiny.py leaves; with another batch its last checkpoint has another number:
# --cfg-options load_from=work_dirs/lasot/mast_dense_dmae_tiny/iter_N.pth
#
# MaST's paper gives the two parts, their length and the share. Not known, and chosen here: the
# curve of the share; the rate, which is that of the first part's end until epoch 40 of 50 and a
# tenth of it after; the head's hidden width (149 k parameters, theirs about 80 k). In training the
# Gaussian sits in the middle of the region, as there; its box is square, for the jittered box it
# was cut around has no truth to its shape.
_base_ = "./mast_dense_dmae_tiny.py"
load_from = "work_dirs/lasot/mast_dense_dmae_tiny/iter_140400.pth"
model = dict(
    network=dict(prune_after=1, keep=0.3),
    keep_schedule=dict(_delete_=True, begin=0, end=10),
)
optim_wrapper = dict(optimizer=dict(lr=4e-5))
param_scheduler = [dict(type="MultiStepLR", by_epoch=True, milestones=[40], gamma=0.1)]
train_cfg = dict(max_epochs=50, val_interval=10)

# OSTrack with a ViT-Tiny pre-trained with D-MAE: LaSOT, GOT-10k, COCO and TrackingNet, 300 epochs
# of 60,000 pairs. The authors report 65.8 AUC on LaSOT's test set.
#
#   tools/dist_train.sh configs/lasot/ostrack_dmae_tiny.py 4        the authors' batch of 4 * 32
#   tools/train.py configs/lasot/ostrack_dmae_tiny.py \
#       --cfg-options train_dataloader.batch_size=128               the same on one GPU
#   tools/test.py configs/lasot/ostrack_dmae_tiny.py CHECKPOINT
#
# Another batch sees the same pairs at a rate in proportion; see configs/_base_/schedules/
# track_300e.py. Less, to try it out: train_cfg.max_epochs=30 and
# train_dataloader.dataset.samples_per_epoch=6000 are a tenth each; without TrackingNet:
# train_dataloader.dataset.sets.3.ratio=0.
_base_ = [
    "../_base_/models/ostrack_vit_tiny.py",
    "../_base_/datasets/tracking_pairs.py",
    "../_base_/schedules/track_300e.py",
]
model = dict(backbone=dict(init="checkpoints/dmae_tiny.safetensors"))

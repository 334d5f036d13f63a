# The images of pre-training; labels are not used. A folder of folders (ImageNet's train), a flat
# folder, or a pack (tools/pack_images.py). Others: --cfg-options data_root=/my/images
#
# Augmentation: a random resized crop and a flip, nothing else. The crop takes 0.08 to 1 of the
# image, with an interpolation drawn for each image: so MAE-Lite's code. Its paper refers to MAE for
# these, whose crop takes 0.2 to 1, always bicubic.
data_root = "data/imagenet/train"
train_dataloader = dict(
    # Per GPU: 8 * 512 = 4096 as the authors. auto_scale_lr scales the rate where this, times the
    # GPUs, is not 4096.
    batch_size=512,
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    # 1,281,167 // 4096 = 312 iterations an epoch; the 3,215 images left over are others each time.
    drop_last=True,
    sampler=dict(type="EpochSampler", shuffle=True),
    collate_fn=dict(type="collate_images"),
    dataset=dict(
        type="PretrainImages",
        data_root=data_root,
        crop_size=224,
        scale=(0.08, 1.0),
        ratio=(3 / 4, 4 / 3),
        interpolations=("bilinear", "bicubic"),
        flip=0.5,
        min_side=0,  # an image smaller than the crop is enlarged, as theirs are
        max_unreadable=0.001,  # of all files; unreadable ones are named, more than this end the run
    ),
)

# D²-MAE: dmae_tiny.py with reconstruction and distillation decoupled (the journal's, IJCV 2025, as
# its code has it). Launched like dmae_tiny.py, with the same teacher.
#
# Comes out: work_dirs/pretrain/d2mae_tiny/d2mae_tiny.safetensors: blocks 1 to 12 without a final
# norm. The one that was trained belongs behind block 8; it is kept aside in the file, as
# "norm_depth8". The 13th block and the adapter are left behind.
# Goes into: configs/*/*_d2mae_tiny.py, or any other config with --cfg-options init=PATH.
_base_ = "./dmae_tiny.py"
model = dict(
    decode_after=8,  # the decoder reads the normed output of block 8
    # A 13th block learns the teacher's attention; it ends with its logits, so it has no more than a
    # norm and the query-key-value layer. Blocks 9 to 12 learn from the distillation alone. Blocks 1
    # to 8 learn from it too: "decoupled" has no stop-gradient in their code.
    distill=dict(attention=[(13, 12)]),
)
default_hooks = dict(
    export=dict(
        then="tools/train.py configs/ade20k/upernet_d2mae_tiny.py --cfg-options init={path}"
    )
)

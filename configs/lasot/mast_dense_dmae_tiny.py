# The first of two parts of a tracker that prunes once, after MaST: all tokens, and a head for each
# token alone instead of convolutions. 300 epochs; the second part is mast_dmae_tiny.py.
_base_ = "./ostrack_dmae_tiny.py"
model = dict(
    network=dict(eliminate=(), head="mlp"),
    keep_schedule=None,
)

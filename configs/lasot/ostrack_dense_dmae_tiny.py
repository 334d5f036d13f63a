# OSTrack without candidate elimination: all 256 search tokens to the end. Otherwise
# ostrack_dmae_tiny.py.
_base_ = "./ostrack_dmae_tiny.py"
model = dict(network=dict(eliminate=()), keep_schedule=None)

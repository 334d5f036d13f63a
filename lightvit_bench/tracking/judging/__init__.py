"""Scores of result files, by the rules of `lightvit_bench.metrics`.

judge         boxes against truth
plots         the pictures of tools/eval_tracks.py
submission    archives for GOT-10k's and TrackingNet's servers
"""

"""Honest latency: tools/bench_track.py and tools/soak_track.py.

bench, cases     the parent with its rounds, a child for each case
inputs           models, videos, boxes
figures          of a case, from its rounds
report           tables and run records
soak             many frames, and the memory they take
"""

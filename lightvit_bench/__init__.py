"""Lightweight vision transformers: pre-training, dense prediction, tracking, leaderboard."""

__version__ = "0.1.0"

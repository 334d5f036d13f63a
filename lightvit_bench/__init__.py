"""Lightweight vision transformers: pre-training, dense prediction, tracking and their leaderboard."""

__version__ = "0.1.0"

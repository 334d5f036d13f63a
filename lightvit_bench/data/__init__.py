"""Data sets: where they are, whether they are usable, and generated ones to try things on."""

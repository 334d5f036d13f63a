"""Training pairs from photographs alone: pieces of some moving in front of others.

sources, stock    photographs and cut-out objects
scene, regions    what is where, and what the crops show of it
render            pixels
pairs             as a data set
"""

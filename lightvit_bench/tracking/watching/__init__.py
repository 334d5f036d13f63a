"""Following a target for somebody who watches: tools/track.py and the demo.

follow, live           over all frames; by the wall clock, late frames dropped
track_video            the whole of the tool
draw, strip, demo      boxes on frames, a strip of pictures, the demo's videos
"""

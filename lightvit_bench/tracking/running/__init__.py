"""Running a tracker over a data set: tools/test.py.

config, exported    the tracker that a config or an exported file names
sets, sequences     the data, and one sequence after the other
workers             in processes of their own
folder              result files: whole, resumed, of one tracker
realtime            by the clock of a stream
judged, report      the scores, and what is printed
"""

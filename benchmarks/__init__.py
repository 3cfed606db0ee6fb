"""
What atstls costs: C{edge.py} compares it with other edges, C{calls.py} counts.
"""

"""Scale, by simulation: a catalog of a hundred million members, ten years of operations, a file of 10 TB.

`python -m benchmarks.scale catalog` and `python -m benchmarks.scale stream`; docs/scale.md has the figures.
"""

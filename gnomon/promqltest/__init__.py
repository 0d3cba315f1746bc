"""Prometheus' `.test` scripts, run on our engine: load, eval, expect.

`script.py` reads a file into commands, `values.py` reads the notation of series and values,
`compare.py` says whether a result is the expected one, `runner.py` executes.
"""

"""Reproducible benchmarks, one question a file, peers beside us."""

"""Targets to appended samples: loops, exposition parsers, relabelling, series caches."""

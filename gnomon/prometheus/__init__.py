"""Prometheus' files on disk: blocks, log and head of its data directory, read and written."""

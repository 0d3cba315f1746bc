"""Work on data directories without a server: import, backfill, dump, export, verify, analyze."""

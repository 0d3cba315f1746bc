"""The storage engine: symbols, metric tables, head, WAL, blocks. Knows none of our packages."""

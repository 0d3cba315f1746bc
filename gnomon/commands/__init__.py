"""One module for each command group of the `gnomon` program; each has `run(words) -> exit code`."""

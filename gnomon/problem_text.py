"""An error of the operating system, said as Prometheus says it: what was opened, and why it failed.

To: commands, and the log lines of configurations that cannot be used.
"""

from __future__ import annotations


def problem_text(error: Exception) -> str:
    """Return what went wrong with a file, in a sentence for people.

    >>> problem_text(FileNotFoundError(2, "No such file or directory", "a.yml"))
    'open a.yml: no such file or directory'
    """
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"open {error.filename}: {error.strerror[0].lower()}{error.strerror[1:]}"
    return str(error)

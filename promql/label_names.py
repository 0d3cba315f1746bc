"""What may be the name of a label; asked by the grammar and by all functions that make labels."""

from __future__ import annotations


def is_label_name(text: str) -> bool:
    """Tell whether a label may be called so: not empty, and valid UTF-8.

    Bytes that are not come through the parser as lone surrogates.
    """
    return bool(text) and not any("\ud800" <= char <= "\udfff" for char in text)

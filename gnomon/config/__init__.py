"""The configuration file: strict YAML to frozen values, and back to text.

`document.py` reads YAML with positions, `model.py` says what comes out, `load.py` decodes the whole
file, the modules between decode one section each, `effective.py` prints with defaults filled in.
"""

"""Names for the arrays that pass between storage and everybody else; for type checking alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
"""Values."""
Ints = npt.NDArray[np.int64]
"""Times in milliseconds, refs, counts, positions."""
Ids = npt.NDArray[np.uint32]
"""Symbol ids; 0 is the empty string."""
Bytes = npt.NDArray[np.uint8]
"""Text as UTF-8, or bytes of a file."""

"""Several feature matrices read as one, concatenated along the feature axis; nothing is copied before it is
asked for.

Knows shapes and scales only: which rows belong together is decided in feature_store.combine_features.
"""

from collections.abc import Sequence

import numpy as np


class SideBySide:
    """Several (N_i, V_i, R_i, D_i) memory maps read as one float16 (N, V, R, sum D) array, nothing copied
    before.

    `array[rows]` (one number, a slice, a list, a mask) gives a NumPy array, and so does `np.asarray(array)`.
    """

    dtype, ndim = np.dtype(np.float16), 4

    def __init__(self, arrays: Sequence[np.ndarray], rows: Sequence[np.ndarray], scales: Sequence[float]):
        """`rows[i]`: the row of `arrays[i]` for each row of the whole; `scales[i]` multiplies `arrays[i]`."""
        self._sources = list(zip(arrays, rows, scales, strict=True))
        shapes = [array.shape for array in arrays]
        views, regions = (max(shape[axis] for shape in shapes) for axis in (1, 2))
        self.shape = (len(rows[0]), views, regions, sum(shape[3] for shape in shapes))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index) -> np.ndarray:
        index, rest = (index[0], index[1:]) if isinstance(index, tuple) else (index, ())
        wanted = np.arange(len(self))[index]
        rows = np.atleast_1d(wanted)
        out = np.empty((len(rows), *self.shape[1:]), self.dtype)
        for first in range(0, len(rows), 256):  # float32 copies of a block, not of everything
            block, start = rows[first : first + 256], 0
            for array, own_rows, scale in self._sources:
                end = start + array.shape[3]
                values = np.asarray(array[own_rows[block]], np.float32) * np.float32(scale)
                with np.errstate(over="ignore"):  # infinite: Features.take says whose row it is
                    out[first : first + 256, ..., start:end] = values
                start = end
        return out[(slice(None), *rest)] if wanted.ndim else out[0][rest]

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return self[:].astype(dtype or self.dtype, copy=False)

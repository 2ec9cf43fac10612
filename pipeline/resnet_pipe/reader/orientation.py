"""Turn pictures upright."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]


def upright(frame: Frame, orientation: int) -> Frame:
    """Undo an EXIF orientation, 1 to 8; the cases are two flips and a transposition."""
    if orientation not in range(2, 9):
        return frame
    import cv2  # numpy could, at a tenth of the speed

    if orientation >= 5:
        frame = cv2.transpose(frame)  # type: ignore[assignment]
    flips = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}
    return cv2.flip(frame, flips[orientation]) if orientation in flips else frame  # type: ignore[return-value]

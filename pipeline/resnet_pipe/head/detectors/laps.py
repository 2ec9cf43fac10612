"""How long the parts of making detections take, one after the other."""

from __future__ import annotations

import threading
import time


class Laps(threading.local):
    """Seconds of parts, of each thread its own: several share a detector.

    Attributes:
        seconds: of each part by name, since `start`.
    """

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Forget what has been, and begin with the first part."""
        self.seconds: dict[str, float] = {}
        self._since = time.perf_counter()

    def end(self, part: str) -> None:
        """End a part, which may come several times, and begin with the next one."""
        now = time.perf_counter()
        self.seconds[part] = self.seconds.get(part, 0.0) + now - self._since
        self._since = now

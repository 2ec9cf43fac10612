"""When a frame is shown, where the times that a container gives are not all what they claim to be."""

from __future__ import annotations

from av.video.frame import VideoFrame

from resnet_pipe.reader.video.timeline import UNKNOWN


class BestEffort:
    """Chooses between the two times of each frame, as FFmpeg does (its `guess_correct_pts`)."""

    def __init__(self) -> None:
        self._last_pts = self._last_dts = UNKNOWN
        self._faulty_pts = self._faulty_dts = 0

    def time(self, frame: VideoFrame) -> int | None:
        """Return the better time of the next frame; None if it has none."""
        pts, dts = frame.pts, frame.dts
        if dts is not None:
            self._faulty_dts += dts <= self._last_dts
            self._last_dts = dts
        if pts is not None:
            self._faulty_pts += pts <= self._last_pts
            self._last_pts = pts
        elif dts is not None:
            self._last_pts = dts
        return pts if pts is not None and (dts is None or self._faulty_pts <= self._faulty_dts) else dts

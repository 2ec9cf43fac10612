"""The readers there are. Another one is a line here, and a section that describes it."""

from __future__ import annotations

from resnet_pipe.reader.images.section import ImagesSection
from resnet_pipe.reader.video.section import VideoSection

Section = ImagesSection | VideoSection
"""The `reader` of a job; its `kind` tells which."""

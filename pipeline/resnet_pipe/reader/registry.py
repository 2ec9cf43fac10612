"""The readers there are. Another one is a line here, and a section that describes it."""

from __future__ import annotations

from typing import get_args

from resnet_pipe.reader.images.section import ImagesSection
from resnet_pipe.reader.section import ReaderSection
from resnet_pipe.reader.video.section import VideoSection

Section = ImagesSection | VideoSection
"""The `reader` of a job; its `kind` tells which."""

SECTIONS: tuple[type[ReaderSection], ...] = get_args(Section)

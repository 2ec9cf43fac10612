"""The readers there are. Another one is a line here, and a section that describes it."""

from __future__ import annotations

from resnet_pipe.reader.archives.section import ArchiveSection
from resnet_pipe.reader.images.section import ImagesSection
from resnet_pipe.reader.manifests.section import ManifestSection
from resnet_pipe.reader.tables.section import TableSection
from resnet_pipe.reader.video.section import VideoSection

Section = ImagesSection | ArchiveSection | ManifestSection | TableSection | VideoSection
"""The `reader` of a job; its `kind` tells which."""

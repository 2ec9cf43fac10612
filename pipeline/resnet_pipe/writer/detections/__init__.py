"""Writers of boxes in the formats of other tools, as one file for all chunks: COCO and MegaDetector."""

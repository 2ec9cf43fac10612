"""torchvision's detectors as static networks, without what is done better outside of them."""

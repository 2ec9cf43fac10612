"""From what detection networks give to detections: numpy, one item at a time."""

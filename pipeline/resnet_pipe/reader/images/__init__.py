"""The reader of image files, and the decoders of their formats."""

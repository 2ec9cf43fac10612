"""The reader of video files: index, sampling, decoding."""

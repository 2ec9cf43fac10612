"""A converted model: the ONNX file, the sidecar beside it, and what its outputs are."""

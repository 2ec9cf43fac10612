"""Conversion makes an ONNX file that cv2.dnn runs, and the sidecar beside it."""

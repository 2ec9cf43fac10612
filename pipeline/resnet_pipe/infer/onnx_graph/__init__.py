"""An ONNX network as plain operations and weights, for engines that build the network themselves."""

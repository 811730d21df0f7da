"""A trained network as an ONNX file, with all that whoever uses it has to know beside it as JSON."""

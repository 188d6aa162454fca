"""What a network does: layers with their MACs and bytes, read from torch or ONNX."""

"""torch.onnx.symbolic_opset11: rules of PyTorch's older exporter, of which none are here."""

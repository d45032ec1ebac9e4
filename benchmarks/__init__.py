"""Speed and memory beside real PyTorch and hand-written JAX: `python -m benchmarks`."""

"""torch.fx.experimental: what programs ask about a tracer below autograd."""

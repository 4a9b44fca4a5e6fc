"""Benchmark of this machine: the service over loopback, the predictor, the forward pass."""

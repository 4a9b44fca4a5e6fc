"""Weights rounded to 16 or 8 bits before a network is measured and written."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tumorlens.errors import ConfigError, ExportError

# Smaller tensors (biases, norms) are left alone: they weigh nothing and matter most.
_SMALLEST = 1024


# Steps of a weight to either side of 0 in 8 bits, and the bits kept of a step's length: with these
# few the product of the two is exact in float32.
_STEPS, _SCALE_BITS = 127, 11


BITS = (32, 16, 8)


def round_weights(network: nn.Module, bits: int = 16) -> None:
    """Round the network's large weights, in place, as float32.

    Args:
        network: Its tensors of fewer than 1,024 values are left alone.
        bits: 16 rounds to the nearest float16 value; 8 quantises symmetrically by output channel:
            to one of 255 steps from minus its largest weight to plus it; 32 does nothing.

    Raises:
        ConfigError: Another number of bits.
        ExportError: A weight is too large for float16 (above 65504), or not finite.
    """
    check_bits(bits)
    if bits == 32:
        return
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.numel() < _SMALLEST:
                continue
            in_steps = bits == 8 and parameter.ndim > 1
            rounded = _quantised(parameter) if in_steps else parameter.half().float()
            if not torch.isfinite(rounded).all():
                raise ExportError(f"{name}: a weight does not fit {bits} bits; set weight_bits=32")
            parameter.copy_(rounded)


def check_bits(bits: object) -> None:
    """Raise `ConfigError` unless weights can be stored in ``bits``: 32, 16 or 8."""
    if isinstance(bits, bool) or bits not in BITS:
        raise ConfigError(f"weight_bits is {bits!r}; give 32, 16 or 8")


def _quantised(weights: Tensor) -> Tensor:
    """Return weights ``[out, …]`` as whole numbers of steps, each channel's of its own length."""
    largest = weights.detach().flatten(1).abs().amax(dim=1)
    fraction, exponent = torch.frexp(largest / _STEPS)
    kept = torch.ldexp(torch.round(fraction * 2**_SCALE_BITS) / 2**_SCALE_BITS, exponent)
    step = kept.view(-1, *[1] * (weights.ndim - 1))
    whole = torch.round(weights / torch.where(step > 0, step, 1.0)).clamp(-_STEPS, _STEPS)
    return whole * step

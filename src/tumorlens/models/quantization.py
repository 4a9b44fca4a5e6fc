"""Quantisation of weights to 16 or 8 bits before a network is evaluated and exported."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tumorlens.errors import ConfigError, ExportError

# Smaller tensors (biases, norms) are not quantised: they need little space and high precision.
MIN_QUANTISED_SIZE = 1024
# Largest 8-bit integer, and bits of the scale: few enough for exact products in float32.
MAX_INT, _SCALE_BITS = 127, 11
BITS = (32, 16, 8)


def round_weights(network: nn.Module, bits: int = 16) -> None:
    """Round the network's large weights in place; they stay float32.

    Args:
        network: Tensors of fewer than 1,024 values are not changed.
        bits: 16 rounds to the nearest float16 value; 8 quantises symmetrically per output channel
            to 255 levels; 32 does nothing.

    Raises:
        ConfigError: Another number of bits.
        ExportError: A weight is too large for float16 (above 65504), or not finite.
    """
    check_bits(bits)
    if bits == 32:
        return
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.numel() < MIN_QUANTISED_SIZE:
                continue
            as_int8 = bits == 8 and parameter.ndim > 1
            rounded = _quantised(parameter) if as_int8 else parameter.half().float()
            if not torch.isfinite(rounded).all():
                raise ExportError(f"{name}: a weight does not fit {bits} bits; set weight_bits=32")
            parameter.copy_(rounded)


def check_bits(bits: object) -> None:
    """Raise `ConfigError` unless weights can be stored in ``bits``: 32, 16 or 8."""
    if isinstance(bits, bool) or bits not in BITS:
        raise ConfigError(f"weight_bits is {bits!r}; give 32, 16 or 8")


def _quantised(weights: Tensor) -> Tensor:
    """Return weights ``[out, …]`` as integer multiples of one scale per output channel."""
    largest = weights.detach().flatten(1).abs().amax(dim=1)
    fraction, exponent = torch.frexp(largest / MAX_INT)
    rounded = torch.ldexp(torch.round(fraction * 2**_SCALE_BITS) / 2**_SCALE_BITS, exponent)
    scale = rounded.view(-1, *[1] * (weights.ndim - 1))
    integers = torch.round(weights / torch.where(scale > 0, scale, 1.0))
    return integers.clamp(-MAX_INT, MAX_INT) * scale

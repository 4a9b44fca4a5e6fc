"""torch ↔ ONNX: the graphs agree, and nothing is written when they do not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from tumorlens.errors import ConfigError, ExportError, OutputError
from tumorlens.export import onnx as export
from tumorlens.export.compress import store_small
from tumorlens.export.onnx import check_parity, probe_inputs, to_onnx, write_weights
from tumorlens.imaging.preprocess import NOTEBOOK, PreprocessSpec
from tumorlens.inference.engine import Engine, Outputs
from tumorlens.models.output import Evidence
from tumorlens.models.quantization import round_weights
from tumorlens.models.registry import build
from tumorlens.models.weights import load_weights

SPEC = PreprocessSpec(size=64)
CASES: dict[str, tuple[dict[str, Any], PreprocessSpec]] = {
    "notebook": ({}, NOTEBOOK),
    "cnn": ({"widths": [16, 16]}, SPEC),
    "resnet": ({"depth": 18}, SPEC),
    "evidence": ({"width": 16}, SPEC),
    "efficient": ({"width": 8}, SPEC),
    "ensemble": ({"width": 8, "members": 2}, SPEC),
}


# The improved CNN is exported below, and by every run of test_run.py.
@pytest.mark.parametrize("architecture", ["notebook", "resnet", "evidence", "efficient"])
def test_every_network_exports_to_the_same_function(architecture: str) -> None:
    arguments, spec = CASES[architecture]
    torch.manual_seed(0)
    network = build(architecture, **arguments)
    engine = Engine(to_onnx(network, spec), threads=1)
    assert engine.has_map == (architecture != "notebook")
    inputs = np.random.default_rng(1).random((3, spec.channels, spec.size, spec.size), np.float32)
    with torch.no_grad():
        expected = network.eval()(torch.from_numpy(inputs))
    for n in (1, 3):  # the batch axis is free
        logits, maps, *_ = engine.run(inputs[:n])
        assert logits.shape == (n,)
        assert np.abs(logits - expected.logit.numpy()[:n]).max() < 1e-4
        if maps is not None:
            assert np.abs(maps - expected.map.numpy()[:n]).max() < 1e-4


def test_the_graph_says_nothing_of_the_machine_it_was_made_on() -> None:
    arguments, spec = CASES["cnn"]
    onnx_bytes = to_onnx(build("cnn", **arguments), spec)
    here = Path(export.__file__).parent
    for trace in (str(here), "site-packages", "stack_trace", 'File "'):
        assert trace.encode() not in onnx_bytes


def test_half_stored_weights_are_the_same_function() -> None:
    arguments, spec = CASES["cnn"]
    torch.manual_seed(0)
    network = build("cnn", **arguments)
    whole = to_onnx(network, spec)
    round_weights(network)
    half = to_onnx(network, spec)
    large = sum(p.numel() for p in network.parameters() if p.numel() >= 1024)
    assert len(whole) - len(half) == pytest.approx(2 * large, abs=2000)
    inputs = probe_inputs(spec)
    with torch.no_grad():
        expected = network.eval()(torch.from_numpy(inputs)).logit.numpy()
    assert np.abs(Engine(half, threads=1).run(inputs)[0] - expected).max() < 1e-4
    types = {numpy_helper.to_array(each).dtype for each in _initializers(half)}
    assert np.dtype(np.float16) in types
    assert np.dtype(np.float16) not in {
        numpy_helper.to_array(each).dtype for each in _initializers(whole)
    }
    assert store_small(half) == half  # there is nothing left to halve


def _initializers(onnx_bytes: bytes) -> Any:
    return onnx.load_from_string(onnx_bytes).graph.initializer


def test_rounding_spares_small_tensors_and_is_exact_in_16_bits() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.Linear(64, 2))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    round_weights(network)
    after = network.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"0.weight"}
    assert after["0.weight"].dtype == torch.float32
    assert torch.equal(after["0.weight"], after["0.weight"].half().float())
    # Half of float16's spacing just below 0.125, the largest weight here.
    assert (after["0.weight"] - before["0.weight"]).abs().max() <= 2**-15


@pytest.mark.parametrize("value", [65536.0, -1e30, float("inf"), float("nan")])
def test_a_weight_too_large_for_16_bits_is_refused(value: float) -> None:
    network = nn.Linear(64, 64)
    with torch.no_grad():
        network.weight[3, 5] = value
    with pytest.raises(ExportError, match=r"weight: .*weight_bits=32"):
        round_weights(network)


def test_8_bits_are_whole_steps_of_each_channel() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(16, 32, 3), nn.BatchNorm2d(32), nn.Conv2d(32, 1, 1))
    with torch.no_grad():
        network[0].weight[3] *= 1000  # each channel has steps of its own
        network[0].weight[5] = 0
        network[0].weight[6] *= 1e-30
    before = network[0].weight.detach().clone()
    small = network[2].weight.detach().clone()
    round_weights(network, 8)
    after = network[0].weight.detach()
    assert torch.equal(network[2].weight, small)
    step = before.abs().amax(dim=(1, 2, 3), keepdim=True) / 127
    assert bool(((after - before).abs() <= 0.52 * step + 1e-40).all())
    kept = after.abs().amax(dim=(1, 2, 3), keepdim=True) / 127
    whole = torch.where(kept > 0, after / kept, 0)
    assert torch.equal(whole.round() * kept, after)
    assert float(whole.abs().max()) == 127
    again = after.clone()
    round_weights(network, 8)
    assert torch.equal(network[0].weight, again)


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_weight_without_a_size_does_not_fit_8_bits(value: float) -> None:
    network = nn.Linear(64, 64)
    with torch.no_grad():
        network.weight[3, 5] = value
    with pytest.raises(ExportError, match=r"weight does not fit 8 bits; set weight_bits=32"):
        round_weights(network, 8)


@pytest.mark.parametrize("bits", [4, 0, True, "8", None])
def test_other_numbers_of_bits_are_refused(bits: Any) -> None:
    with pytest.raises(ConfigError, match="give 32, 16 or 8"):
        round_weights(nn.Linear(2, 2), bits)


def test_8_bits_make_a_quarter_and_the_answers_stay() -> None:
    torch.manual_seed(0)
    network = build("cnn", widths=[32, 64]).eval()
    whole = to_onnx(network, SPEC)
    round_weights(network, 8)
    inputs = probe_inputs(SPEC)
    with torch.no_grad():
        wanted = network(torch.from_numpy(inputs))
    quarter = to_onnx(network, SPEC)
    weights = sum(p.numel() for p in network.parameters() if p.numel() >= 1024)
    assert len(whole) - len(quarter) > 2.9 * weights
    found = Engine(quarter, threads=1).run(inputs)
    assert np.abs(found[0] - wanted.logit.numpy()).max() < 1e-4
    assert store_small(quarter) == quarter


@dataclass(frozen=True)
class Exported:
    network: nn.Module
    onnx_bytes: bytes
    inputs: Any
    answer: dict[str, Tensor]


@pytest.fixture(scope="module")
def small() -> Exported:
    torch.manual_seed(0)
    network = build("cnn", widths=[4]).eval()
    inputs = probe_inputs(SPEC)
    with torch.no_grad():
        answer = network(torch.from_numpy(inputs))._asdict()
    return Exported(network, to_onnx(network, SPEC), inputs, answer)


def telling(logit: float = 0.0, cell: float = 0.0, with_map: bool = True) -> type:
    """An engine whose logits, and whose last map's last cell, are off by so much."""

    class Telling:
        def __init__(self, onnx_bytes: bytes, *, threads: int) -> None:
            self._engine = Engine(onnx_bytes, threads=threads)

        def run(self, batch: Any) -> Any:
            logits, maps, *_ = self._engine.run(batch)
            assert maps is not None
            maps[-1, -1, -1] += cell
            return Outputs(logits + np.float32(logit), maps if with_map else None, None)

    return Telling


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({"logit": 2e-4}, r"differ by 2\.0\de-04 in the logit \(allowed 1e-04\)"),
        ({"logit": -1.0}, "differ by 1"),
        ({"cell": 1e-3}, r"differ by 1\.0\de-03"),
        ({"logit": float("nan")}, "differ by nan"),
        ({"with_map": False}, "disagree on having a class map"),
    ],
)
def test_a_graph_that_disagrees_is_refused(
    told: dict[str, Any], reason: str, small: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "Engine", telling(**told))
    with pytest.raises(ExportError, match=reason):
        check_parity(small.onnx_bytes, small.inputs, small.answer)


def test_exporting_passes_the_gate(small: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "Engine", telling(cell=-0.5))
    with pytest.raises(ExportError, match=r"differ by 5\.00e-01"):
        to_onnx(small.network, SPEC)


def test_the_gate_lets_small_differences_pass(small: Exported) -> None:
    answer = dict(small.answer)
    assert check_parity(small.onnx_bytes, small.inputs, answer) < 1e-5
    shifted = {**answer, "logit": answer["logit"] + 5e-5}
    off = check_parity(small.onnx_bytes, small.inputs, shifted)
    assert off == pytest.approx(5e-5, rel=0.2)
    del answer["map"]
    with pytest.raises(ExportError, match="disagree on having a class map"):
        check_parity(small.onnx_bytes, small.inputs, answer)


def test_a_network_onnx_cannot_hold_is_refused() -> None:
    class Capricious(nn.Module):
        def forward(self, image: Tensor) -> Evidence:
            cells = image.mean(dim=1)
            # Which way to go depends on the pixels: no fixed graph does that.
            return Evidence(cells.mean((1, 2)) * (2 if cells.sum() > 1 else 1), cells)

    with pytest.raises(ExportError, match="cannot be written as ONNX"):
        to_onnx(Capricious(), SPEC)


def test_probes_are_heads_noise_and_black() -> None:
    probes = probe_inputs(SPEC)
    assert probes.shape == (8, 1, 64, 64)
    assert not probes[7].any()
    assert probes[6].std() == pytest.approx(12**-0.5, abs=0.01)
    assert len({probe.tobytes() for probe in probes}) == 8
    assert np.array_equal(probe_inputs(SPEC), probes)


def test_weights_are_written_flat_and_read_back(tmp_path: Path) -> None:
    network = build("cnn", widths=[4, 8])
    write_weights(network, tmp_path / "weights.pt")
    stored = torch.load(tmp_path / "weights.pt", weights_only=True)
    assert {type(each) for each in stored.values()} == {Tensor}
    assert stored.keys() == network.state_dict().keys()
    other = build("cnn", widths=[4, 8])
    load_weights(other, tmp_path / "weights.pt")
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name])
    with pytest.raises(ConfigError, match="not the weights of this network; of another shape"):
        load_weights(build("cnn", widths=[4, 4]), tmp_path / "weights.pt")
    with pytest.raises(OutputError, match=r"none.weights\.pt"):
        write_weights(network, tmp_path / "none" / "weights.pt")
    assert not (tmp_path / "none").exists()

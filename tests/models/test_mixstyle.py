"""Mixed feature statistics: blends in training, nothing in evaluation, patterns kept."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tumorlens.errors import ConfigError
from tumorlens.models.evidence import EvidenceNet
from tumorlens.models.mixstyle import MixStyle


def features(n: int = 8) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(n, 3, 6, 6, generator=generator)
    scale = 1 + torch.arange(n).float()[:, None, None, None]
    return base * scale + 10 * scale


def test_evaluation_and_probability_0_change_nothing() -> None:
    x = features()
    assert MixStyle(1.0).eval()(x) is x
    assert MixStyle(0.0).train()(x) is x
    assert torch.equal(MixStyle(1.0).train()(x[:1]), x[:1])


def test_statistics_are_blends_of_two_scans_and_the_pattern_stays() -> None:
    torch.manual_seed(3)
    x = features()
    mixed = MixStyle(1.0, alpha=1.0).train()(x)
    assert mixed.shape == x.shape
    assert not torch.allclose(mixed, x)
    for of in (torch.mean, torch.std):
        before, after = of(x, dim=(2, 3)), of(mixed, dim=(2, 3))
        assert (after >= before.min(dim=0).values - 1e-3).all()
        assert (after <= before.max(dim=0).values + 1e-3).all()

    def pattern(t: Tensor) -> Tensor:
        return (t - t.mean(dim=(2, 3), keepdim=True)) / t.std(dim=(2, 3), keepdim=True)

    assert torch.allclose(pattern(mixed), pattern(x), atol=1e-3)


def test_a_share_of_the_scans_is_mixed() -> None:
    torch.manual_seed(0)
    x = features(400)
    mixed = MixStyle(0.3, alpha=1.0).train()(x)
    share = (mixed - x).abs().flatten(1).amax(dim=1).gt(1e-2).float().mean()
    assert float(share) == pytest.approx(0.3, abs=0.08)


@pytest.mark.parametrize(("p", "alpha"), [(-0.1, 0.1), (1.1, 0.1), (0.5, 0.0)])
def test_impossible_settings_are_refused(p: float, alpha: float) -> None:
    with pytest.raises(ConfigError, match="mixstyle"):
        MixStyle(p, alpha)


def test_a_network_with_it_has_the_weights_of_one_without() -> None:
    plain, mixing = EvidenceNet(width=8), EvidenceNet(width=8, mixstyle=0.5)
    assert set(plain.state_dict()) == set(mixing.state_dict())
    mixing.load_state_dict(plain.state_dict())
    image = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        assert torch.equal(plain.eval()(image).logit, mixing.eval()(image).logit)

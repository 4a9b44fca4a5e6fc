"""How often and how strongly training pictures are changed, and how that follows the training."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tumorlens.errors import ConfigError

# What `strong_from` strengthens: what keeps the sequence of a scan from carrying the answer.
_SEQUENCE = ("p_contrast", "p_invert", "p_paste", "p_synthetic")
# What `calm_from` calms, and to which share.
_EDITS = ("p_paste", "p_take_out", "p_window", "p_synthetic")
_CALM = 0.25
# Sides that a ResNet halves five times.
_STEP = 32


@dataclass(frozen=True)
class AugmentSpec:
    """Probabilities (``p_…``, 0..1) and strengths of the augmentations.

    Attributes:
        p_flip: Left-right flip.
        p_flip_vertical: Up-down flip.
        rotation: Largest rotation either way, degrees.
        scale: Largest zoom either way, as a share.
        enlarge: How much larger than the network will be judged on pictures are shown, on
            average, > 0; 1 as large.
        shift: Largest shift, as a share of the side.
        p_elastic: A smooth random field stretches some regions and squeezes others, as heads
            and ventricles differ (Simard et al., ICDAR 2003).
        elastic: Standard deviation of the stretch between two knots of that field, as a share.
        p_gamma, gamma: Power-law contrast ``x ** exp(±gamma)``.
        p_remap: Smooth random monotone remapping of intensities.
        p_invert: Inverted contrast inside the head, background kept dark (T2-like).
        p_bias, bias: Smooth multiplicative coil field ``exp(±bias)``.
        p_noise, noise: Rician noise of this largest standard deviation.
        p_blur: Loss of resolution by down- and up-sampling, to ``blur`` times the pixel.
        blur: Largest pixel growth, > 1.
        p_gibbs: Ringing by cutting high spatial frequencies.
        p_cutout: A square of ``cutout`` of the side set to zero.
        cutout: Side of the square, as a share.
        p_border: Bright lines or a bar at the picture's edge, as screenshots have.
        p_contrast: Smooth random remapping that need not keep the order of intensities.
        p_paste: A healthy picture receives a patch of another one (see `training.edits`).
        recoloured: Share of the pasted lesions that are shown as by another sequence.
        p_synthetic: A healthy picture receives a synthetic lesion or decoy (`training.synthetic`).
        p_take_out: A tumour picture with an outline loses its lesion, or gets a patch beside it.
        p_window: Zoom into a window, with the lesion or without it.
        strong_from: Share of the training from which on new contrasts and pasted patches
            (``p_contrast``, ``p_invert``, ``p_paste``, ``p_synthetic``) come ``strong`` times as
            often; 1 never.
        strong: That factor. Such doses from the first epoch on keep a network from learning.
        t2_like: From ``strong_from`` on, the share of inverted pictures that look like T2: fluid
            inside the head turns bright too, and lesions show in the brighter of both contrasts.
        calm_from: Share of the training from which on edits (``p_paste``, ``p_take_out``,
            ``p_window``, ``p_synthetic``) come a quarter as often; 1 never.
        first_side: Side of the pictures at the start of the training, in pixels; 0 is the
            network's own from the first epoch on.
        grown_by: Share of the training by which the side has grown to the network's own.

    Raises `ConfigError` for an ``enlarge`` that is not above 0.
    """

    p_flip: float = 0.5
    p_flip_vertical: float = 0.0
    rotation: float = 0.0
    scale: float = 0.0
    enlarge: float = 1.0
    shift: float = 0.0
    p_elastic: float = 0.0
    elastic: float = 0.2
    p_gamma: float = 0.0
    gamma: float = 0.4
    p_remap: float = 0.0
    p_invert: float = 0.0
    p_bias: float = 0.0
    bias: float = 0.5
    p_noise: float = 0.0
    noise: float = 0.06
    p_blur: float = 0.0
    blur: float = 3.0
    p_gibbs: float = 0.0
    p_cutout: float = 0.0
    cutout: float = 0.2
    p_border: float = 0.0
    p_contrast: float = 0.0
    p_paste: float = 0.0
    recoloured: float = 0.0
    p_synthetic: float = 0.0
    p_take_out: float = 0.0
    p_window: float = 0.0
    strong_from: float = 1.0
    strong: float = 1.0
    t2_like: float = 0.0
    calm_from: float = 1.0
    first_side: float = 0.0
    grown_by: float = 0.67

    def __post_init__(self) -> None:
        if not self.enlarge > 0:
            raise ConfigError(f"augment.enlarge is {self.enlarge}; give a number above 0")

    def at(self, progress: float) -> AugmentSpec:
        """Return what holds at ``progress`` (0..1) of the training."""
        factors = dict.fromkeys((*_SEQUENCE, *_EDITS), 1.0)
        for since, names, factor in (
            (self.strong_from, _SEQUENCE, self.strong),
            (self.calm_from, _EDITS, _CALM),
        ):
            if progress >= since:
                factors |= {name: factors[name] * factor for name in names}
        changed = {name: min(1.0, getattr(self, name) * by) for name, by in factors.items()}
        t2_like = self.t2_like if progress >= self.strong_from else 0.0
        return replace(self, **changed, t2_like=t2_like)

    def side_at(self, progress: float, whole: int) -> int:
        """Return the side of training pictures at ``progress`` (0..1), in steps of 32 pixels.

        Small pictures teach what large ones do for a fraction of the time, as long as large
        ones come last (Tan & Le, EfficientNetV2, ICML 2021).
        """
        if not 0 < self.first_side < whole or progress >= self.grown_by:
            return whole
        side = self.first_side + (whole - self.first_side) * progress / self.grown_by
        return max(_STEP, int(side // _STEP * _STEP))

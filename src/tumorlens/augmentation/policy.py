"""The augmentation policy: settings of all transforms, and their schedule over the training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any, TypeVar, get_type_hints

from tumorlens.augmentation.geometry import RandAffineElastic
from tumorlens.augmentation.intensity import (
    RandAdjustContrast,
    RandBiasField,
    RandBorder,
    RandCoarseDropout,
    RandGibbsNoise,
    RandHistogramShift,
    RandIntensityRemap,
    RandInvert,
    RandRicianNoise,
    RandSimulateLowResolution,
)
from tumorlens.augmentation.lesions import (
    RandLesionCrop,
    RandLesionInsertion,
    RandLesionRemoval,
)
from tumorlens.augmentation.synthetic_lesions import RandSyntheticLesion
from tumorlens.augmentation.transform import Compose, Settings, Transform
from tumorlens.errors import ConfigError

# Factor of the probabilities of all lesion transforms from `Schedule.lesions_reduced_from` on.
_LESIONS_AT_THE_END = 0.25
# Side lengths are multiples of this, since a ResNet halves them five times.
_STEP = 32

Kind = TypeVar("Kind", bound=Settings)


@dataclass(frozen=True)
class Intensity(Settings):
    """Transforms of grey levels, in the order in which they are applied."""

    low_resolution: RandSimulateLowResolution = field(default_factory=RandSimulateLowResolution)
    gibbs_noise: RandGibbsNoise = field(default_factory=RandGibbsNoise)
    intensity_remap: RandIntensityRemap = field(default_factory=RandIntensityRemap)
    histogram_shift: RandHistogramShift = field(default_factory=RandHistogramShift)
    invert: RandInvert = field(default_factory=RandInvert)
    adjust_contrast: RandAdjustContrast = field(default_factory=RandAdjustContrast)
    bias_field: RandBiasField = field(default_factory=RandBiasField)
    rician_noise: RandRicianNoise = field(default_factory=RandRicianNoise)
    border: RandBorder = field(default_factory=RandBorder)
    coarse_dropout: RandCoarseDropout = field(default_factory=RandCoarseDropout)


@dataclass(frozen=True)
class Lesions(Settings):
    """Transforms that change what an image shows, in the order in which they are applied."""

    insertion: RandLesionInsertion = field(default_factory=RandLesionInsertion)
    synthetic: RandSyntheticLesion = field(default_factory=RandSyntheticLesion)
    removal: RandLesionRemoval = field(default_factory=RandLesionRemoval)
    crop: RandLesionCrop = field(default_factory=RandLesionCrop)


@dataclass(frozen=True)
class Schedule(Settings):
    """The schedule of probabilities and image size; times are shares of the training, 0..1.

    Attributes:
        sequence_from: From here on the transforms that decorrelate MRI sequence and label
            (intensity remapping, inversion, lesion insertion, synthetic lesions) are applied
            ``sequence_factor`` times as often, and inverted images may look like T2; 1 is never.
            Applied so often from the first epoch on, they prevent learning.
        sequence_factor: That factor, > 0.
        lesions_reduced_from: From here on lesion transforms are applied a quarter as often; 1 is
            never.
        initial_size: Side of the images at the start in pixels (progressive resizing); 0 uses the
            network's input size throughout.
        full_size_at: When the network's input size is reached.
    """

    sequence_from: float = 1.0
    sequence_factor: float = 1.0
    lesions_reduced_from: float = 1.0
    initial_size: int = 0
    full_size_at: float = 0.67

    def size_at(self, progress: float, full: int) -> int:
        """Return the side of training images at ``progress`` (0..1), in steps of 32 pixels.

        Training on small images first and on large ones last gives the same accuracy in a fraction
        of the time (Tan & Le, EfficientNetV2, ICML 2021).
        """
        if not 0 < self.initial_size < full or progress >= self.full_size_at:
            return full
        side = self.initial_size + (full - self.initial_size) * progress / self.full_size_at
        return max(_STEP, int(side // _STEP * _STEP))


@dataclass(frozen=True)
class AugmentationPolicy(Settings):
    """The settings of every transform. The default changes nothing."""

    geometry: RandAffineElastic = field(default_factory=RandAffineElastic)
    intensity: Intensity = field(default_factory=Intensity)
    lesions: Lesions = field(default_factory=Lesions)
    schedule: Schedule = field(default_factory=Schedule)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> AugmentationPolicy:
        """Build the policy from nested mappings, as the configuration's group ``augment`` is one.

        Raises:
            ConfigError: A setting is unknown, no number, or out of range.
        """
        return _settings(cls, values, "augment")

    def at(self, progress: float) -> AugmentationPolicy:
        """Return the policy with its probabilities at ``progress`` (0..1) of the training."""
        schedule, intensity, lesions = self.schedule, self.intensity, self.lesions
        sequence = schedule.sequence_factor if progress >= schedule.sequence_from else 1.0
        late = _LESIONS_AT_THE_END if progress >= schedule.lesions_reduced_from else 1.0
        invert = _scaled(intensity.invert, sequence)
        if progress < schedule.sequence_from:
            invert = replace(invert, t2_prob=0.0)
        return replace(
            self,
            intensity=replace(
                intensity,
                intensity_remap=_scaled(intensity.intensity_remap, sequence),
                invert=invert,
            ),
            lesions=Lesions(
                insertion=_scaled(lesions.insertion, sequence * late),
                synthetic=_scaled(lesions.synthetic, sequence * late),
                removal=_scaled(lesions.removal, late),
                crop=_scaled(lesions.crop, late),
            ),
        )

    def transforms(self, progress: float, size: int) -> Compose:
        """Return the transforms at ``progress`` (0..1), images' side ``size`` at the end."""
        now = self.at(progress)
        geometry = partial(now.geometry.resample, size=self.schedule.size_at(progress, size))
        lesions: list[Any] = [getattr(now.lesions, each.name) for each in fields(now.lesions)]
        grey: list[Any] = [getattr(now.intensity, each.name) for each in fields(now.intensity)]
        chosen: list[Transform] = [each for each in (*lesions, *grey) if each.prob > 0]
        return Compose([geometry, *chosen])


def _scaled(transform: Any, factor: float) -> Any:
    return replace(transform, prob=min(1.0, transform.prob * factor))


def _settings(kind: type[Kind], values: Mapping[str, Any], where: str) -> Kind:
    hints = get_type_hints(kind)
    known = {each.name for each in fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(set(map(str, values)) - known):
        raise ConfigError(f"{where}: unknown settings {unknown}; known are {sorted(known)}")
    built: dict[str, Any] = {}
    for name, value in values.items():
        nested = isinstance(hints[name], type) and issubclass(hints[name], Settings)
        if nested and not isinstance(value, Mapping):
            raise ConfigError(f"{where}.{name} is {value!r}; give its settings: {{prob: 0.5}}")
        built[name] = _settings(hints[name], value, f"{where}.{name}") if nested else value
    try:
        return kind(**built)
    except ConfigError as error:
        if "augment: " not in str(error):
            raise
        setting = str(error).partition(": ")[2].partition(".")[2]
        raise ConfigError(f"{where}.{setting}") from None

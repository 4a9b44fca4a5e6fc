"""The CLAIM checklist filled in from a run: what was done, was not done, or does not apply.

Items after Tejani et al., Checklist for Artificial Intelligence in Medical Imaging (CLAIM): 2024
Update, Radiology: Artificial Intelligence 6(4), 2024; the template gives their topics in short
words, and the answers that are the same for every run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tumorlens.data.manifest import Record
from tumorlens.data.splits import RANDOM_LEAKY, Split
from tumorlens.modelfile import ModelCard
from tumorlens.modelfile.markdown import HEADLINE
from tumorlens.pages.render import render


def claim_markdown(
    card: ModelCard,
    split: Split,
    parts: Mapping[str, Sequence[Record]],
    versions: Mapping[str, str],
) -> str:
    """Return the checklist's 44 items as a Markdown table, answered from the run.

    Args:
        card: The model card of the run's model file.
        split: The run's split. parts: Its records by part.
        versions: Package → version the run computed with.
    """
    records = [record for members in parts.values() for record in members]
    return render(
        "claim.md",
        card=card,
        recipe=card.recipe,
        split=split,
        leaky=split.name == RANDOM_LEAKY,
        sizes=", ".join(f"{part} {len(members)}" for part, members in parts.items()),
        n_images=len(records),
        n_groups=len({record.group for record in records}),
        sources="; ".join(f"{d.source} (n = {d.n} for training, {d.licence})" for d in card.data),
        subset=_subset(card.recipe.get("data", {})),
        started=_initialisation(card.recipe),
        ensembling=_ensembling(card.recipe),
        augmentations=dict(_augmentations(card.recipe.get("augment", {}))),
        versions=", ".join(f"{name} {found}" for name, found in versions.items()),
        headline=_headline(card),
    )


def _subset(data: Mapping[str, Any]) -> str:
    if not data.get("volumes"):
        return "every labelled image of the sources was used"
    more = data.get("learnt_slices_per_plane")
    tilted = data.get("tilted_slices_per_plane")
    training = f", and for training those of {more}" if more else ""
    training += f", and {tilted} tilted ones a plane for training" if tilted else ""
    return (
        f"of volumes, {data.get('slices_per_plane')} evenly spaced slices a plane{training}; "
        "all else whole"
    )


def _initialisation(recipe: Mapping[str, Any]) -> str:
    started = f"random, seed {recipe.get('seed')}"
    for part, weights in sorted((recipe.get("started_from") or {}).items()):
        loaded = "all weights" if part == "init" else part
        started = f"{loaded} from {weights['file']}, sha256 {weights['sha256']}; else {started}"
    return started


def _ensembling(recipe: Mapping[str, Any]) -> str:
    if members := recipe.get("joined_from"):
        digests = ", ".join(each["sha256"] for each in members)
        return f"{len(members)} networks, their maps averaged; weights' sha256 {digests}"
    if decay := recipe.get("ema_decay"):
        return f"one network; its weights are averaged over training (decay {decay})"
    return "one network"


def _augmentations(settings: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every transform that the recipe applies, with its probability."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            own = value.get("prob")
            yield from [(name, own)] if own else _augmentations(value)
        elif name.startswith("p_") or name.endswith("_prob"):
            yield from [(name, value)] if value else []


def _headline(card: ModelCard) -> str:
    part = main_part(card)
    if part is None:
        return "nothing was measured"
    found = {m.name: m for m in card.metrics if m.split == part}
    figures = [
        f"{name.replace('_', ' ')} {found[name].value:.3f} "
        f"({found[name].low:.3f} to {found[name].high:.3f})"
        for name in HEADLINE
        if name in found
    ]
    return f"{part} scans, n = {next(iter(found.values())).n}: {', '.join(figures)}"


def main_part(card: ModelCard) -> str | None:
    """Return the first of test, validation and calibration that was measured; None for none."""
    measured = {metric.split for metric in card.metrics if metric.name in HEADLINE}
    return next((part for part in ("test", "validation", "calibration") if part in measured), None)

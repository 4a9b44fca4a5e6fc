"""A model card as Markdown, in the sections of Mitchell et al., Model Cards for Model Reporting
(FAT* 2019), from the card alone."""

from __future__ import annotations

from tumorlens.metrics.names import metric_name
from tumorlens.modelfile.card import ModelCard, OodCheck
from tumorlens.pages.render import render

HEADLINE = ("roc_auc", "sensitivity", "specificity")


def model_card_markdown(card: ModelCard) -> str:
    """Return the card as a Markdown document."""
    return render(
        "model_card.md",
        card=card,
        metric_names=_names(card),
        # Splits such as test/axial are subsets of another one.
        sizes={m.split: m.n for m in reversed(card.metrics) if "/" not in m.split},
        split=card.recipe.get("data", {}).get("split", {}),
        data=[
            (d.source, d.n, d.licence, d.citation or "–", f"`{d.sha256[:16]}`") for d in card.data
        ],
        metrics=[
            (m.split, metric_name(m.name), f"{m.value:.3f}", f"{m.low:.3f} to {m.high:.3f}",
             m.n)
            for m in card.metrics
        ],
        conformal=_conformal_rows(card),
        series=card.series.describe() if card.series else "",
        checks=_check_rows(card.ood.checks if card.ood else (), "refuse"),
        brain_checks=_check_rows(card.brain.checks if card.brain else (), "set aside"),
        licensed=[d.source for d in card.data if not d.licence.startswith(("unclear", "unknown"))],
    )  # fmt: skip


def _check_rows(checks: tuple[OodCheck, ...], otherwise: str) -> list[tuple[object, ...]]:
    return [
        (c.images, "keep" if c.mri else otherwise, f"{c.refused:.3f}",
         f"{c.low:.3f} to {c.high:.3f}", c.n)
        for c in checks
    ]  # fmt: skip


def _names(card: ModelCard) -> list[str]:
    """Return the names of the metrics, with all shortcut tests as one."""
    keys = dict.fromkeys(metric.name.partition(":")[0] for metric in card.metrics)
    return ["shortcut tests" if key == "shortcut" else metric_name(key) for key in keys]


def _conformal_rows(card: ModelCard) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for entry in card.conformal or ():
        for name, upper, n, groups, size in (
            ("tumor", entry.tumor, entry.n_tumor, entry.groups_tumor, entry.effective_tumor),
            ("healthy", entry.healthy, entry.n_healthy, entry.groups_healthy,
             entry.effective_healthy),
        ):  # fmt: skip
            worth = "–" if size is None else f"{size:.0f}"
            rows.append((f"{1 - entry.alpha:.0%}", name, f"{upper:.4g}", n, groups or "–", worth))
    return rows

"""A model card as Markdown, in the sections of Mitchell et al., Model Cards for Model Reporting
(FAT* 2019). Nothing is said that the card does not hold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tumorlens.modelfile.card import ModelCard

HEADLINE = ("roc_auc", "sensitivity", "specificity")


def model_card_markdown(card: ModelCard) -> str:
    """Return the card as a Markdown document."""
    sections = (
        ("Model details", _details(card)),
        ("Intended use", [card.intended_use]),
        ("Factors", _factors(card)),
        ("Metrics", _metrics(card)),
        ("Evaluation data", _evaluation_data(card)),
        ("Training data", _training_data(card)),
        ("Quantitative analyses", [*_figures(card), *_sets(card), *_ood(card)]),
        ("Ethical considerations", _ethics(card)),
        (
            "Caveats and recommendations",
            [f"- {text}" for text in card.limitations] or ["None stated."],
        ),
    )
    body = "\n".join("\n".join([f"## {title}", "", *lines, ""]) for title, lines in sections)
    return f"# Model card: {card.name} {card.version}\n\n{body}"


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Return the lines of a Markdown table; pipes and line breaks in cells are escaped."""
    lines = [heads, ["---"] * len(heads), *rows]
    return ["| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines]


def _cell(value: object) -> str:
    return " ".join(str(value).replace("|", "\\|").split())


def _details(card: ModelCard) -> list[str]:
    pooling = f"pooled from a class map by {card.pooling.kind}" if card.pooling else "without a map"
    seed = card.recipe.get("seed")
    return [
        f"- Made: {card.created}, with seed {seed}"
        if seed is not None
        else f"- Made: {card.created}",
        f"- Kind: {card.architecture}, a convolutional network for one two-dimensional slice; "
        f"the answer is {pooling}",
        f"- Input: {card.preprocess.describe()}",
        f"- Answer: P({card.labels[1]}) against {card.labels[0]}, calibrated by temperature "
        f"{card.temperature:.4g}",
        f"- Threshold: {card.threshold.value:.4g} ({card.threshold.origin})",
        f"- Licence of the weights: {card.licence}",
        *([f"- Cite: {card.citation}"] if card.citation else []),
    ]


def _factors(card: ModelCard) -> list[str]:
    return [
        "Figures may differ by source, view (axial, coronal, sagittal), sequence and scanner. Age, "
        "sex and ethnicity are not stated by the sources, so no figure can be given by them. "
        f"The model learned from {len(card.data)} source{'s' if len(card.data) != 1 else ''}; on "
        "others it may do worse.",
    ]


def _metrics(card: ModelCard) -> list[str]:
    names = sorted({metric.name.replace("_", " ") for metric in card.metrics})
    if not names:
        return ["Not measured."]
    return [
        f"{', '.join(names).capitalize()}; each with a 95 % interval from a bootstrap over groups "
        "of near-duplicate scans. Those that need a decision are at the threshold above.",
    ]


def _evaluation_data(card: ModelCard) -> list[str]:
    # Splits such as test/axial are subsets of one that stands here already.
    sizes = {metric.split: metric.n for metric in card.metrics if "/" not in metric.split}
    if not sizes:
        return ["None."]
    split = card.recipe.get("data", {}).get("split", {})
    kind = split.get("kind", "not stated")
    leak = (
        " Near-duplicates of one scan may stand on both sides of this split: its figures are "
        "optimistically biased."
        if kind == "random-leaky"
        else " Near-duplicates and known patients never cross it."
        if kind == "grouped"
        else ""
    )
    held = f" Held out whole: {', '.join(split['held_out'])}." if split.get("held_out") else ""
    parts = ", ".join(f"{name} {n}" for name, n in sizes.items())
    return [f"Scans by part: {parts}. Split: {kind}.{leak}{held}"]


def _training_data(card: ModelCard) -> list[str]:
    if not card.data:
        return ["Not stated."]
    rows = [(d.source, d.n, d.licence, d.citation or "–", f"`{d.sha256[:16]}`") for d in card.data]
    return table(("source", "scans", "licence", "citation", "sha256 of its rows"), rows)


def _figures(card: ModelCard) -> list[str]:
    if not card.metrics:
        return ["Not measured."]
    rows = [
        (m.split, m.name.replace("_", " "), f"{m.value:.3f}", f"{m.low:.3f} to {m.high:.3f}", m.n)
        for m in card.metrics
    ]
    return table(("part", "metric", "value", "95 % interval", "scans"), rows)


def _sets(card: ModelCard) -> list[str]:
    """Say which classes a set keeps, and what is promised of it and what is not."""
    if not card.conformal:
        return []
    rows = []
    for entry in card.conformal:
        for name, upper, n, groups, size in (
            ("tumor", entry.tumor, entry.n_tumor, entry.groups_tumor, entry.effective_tumor),
            ("healthy", entry.healthy, entry.n_healthy, entry.groups_healthy,
             entry.effective_healthy),
        ):  # fmt: skip
            worth = "–" if size is None else f"{size:.0f}"
            rows.append((f"{1 - entry.alpha:.0%}", name, f"{upper:.4g}", n, groups or "–", worth))
    return [
        "",
        "### Conformal sets",
        "",
        *table(("level", "class", "kept while 1 − P is at most", "scans", "groups", "worth"), rows),
        "",
        f"The {1 - card.conformal[0].alpha:.0%} sets decide: where a set does not hold the label "
        "at the threshold and nothing else, the decision is `uncertain`. For each class by itself, "
        "on average over scans and calibrations, at least this share of sets holds the true class, "
        "for scans exchangeable with those they were fitted on. Scans of one group are alike, so "
        "the promise rests on what they are worth as single scans (last column) and holds about. "
        "Nothing is promised for one given picture, one source or another hospital's scans.",
    ]


def _ood(card: ModelCard) -> list[str]:
    """Say what is taken for an MRI, and how well that works."""
    if card.ood is None:
        return []
    ood = card.ood
    rows = [
        (c.images, "keep" if c.mri else "refuse", f"{c.refused:.3f}",
         f"{c.low:.3f} to {c.high:.3f}", c.n)
        for c in ood.checks
    ]  # fmt: skip
    heads = ("images", "should", "refused", "95 % interval", "n")
    return [
        "",
        "### Out-of-distribution detector",
        "",
        f"Fitted on {ood.n_mri} scans and {ood.n_negatives} images that are no brain MRI: "
        f"{ood.method}. It stands beside the rules for quality; either may refuse.",
        "",
        *(table(heads, rows) if rows else ["Not measured."]),
    ]


def _ethics(card: ModelCard) -> list[str]:
    return [
        "Not a medical device. A wrong answer can be a missed tumour or a needless fright; no "
        "decision about a person may rest on it.",
        "",
        "The scans were published by others, who say little of consent and de-identification; "
        "of these sources "
        + (", ".join(d.source for d in card.data if _stated(d.licence)) or "none")
        + " states a licence clearly.",
    ]


def _stated(licence: str) -> bool:
    return not licence.startswith(("unclear", "unknown"))

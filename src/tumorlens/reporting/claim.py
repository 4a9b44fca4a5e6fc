"""The CLAIM checklist, filled from a run: what was done, what was not, and what cannot apply.

Items after Tejani et al., Checklist for Artificial Intelligence in Medical Imaging (CLAIM): 2024
Update, Radiology: Artificial Intelligence 6(4), 2024; their topics are given in short words.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from tumorlens.data.manifest import Record
from tumorlens.data.splits import RANDOM_LEAKY, Split
from tumorlens.modelfile import ModelCard
from tumorlens.modelfile.markdown import HEADLINE
from tumorlens.pages.render import render

Status = Literal["done", "partly", "not done", "not applicable"]
Answer = tuple[str, Status, str]


def claim_markdown(
    card: ModelCard,
    split: Split,
    parts: Mapping[str, Sequence[Record]],
    versions: Mapping[str, str],
) -> str:
    """Return the checklist's 44 items as a Markdown table with what the run knows of each.

    Args:
        card: Of the model the run wrote.
        split: The run's. parts: Its records by part.
        versions: Package → version the run computed with.
    """
    answers = (
        *_introduction(card),
        *_data(card, split, parts),
        *_model(card, versions),
        *_evaluation(card),
        *_results(card, parts),
    )
    counts = {status: sum(answer[1] == status for answer in answers) for status in
              ("done", "partly", "not done", "not applicable")}  # fmt: skip
    summary = ", ".join(f"{n} {status}" for status, n in counts.items())
    rows = [(number, *answer) for number, answer in enumerate(answers, start=1)]
    return render("claim.md", card=card, summary=summary, rows=rows)


def _introduction(card: ModelCard) -> tuple[Answer, ...]:
    return (
        ("AI method named in the title", "done",
         f"deep learning: a convolutional network ({card.architecture}) for brain MRI slices"),
        ("structured abstract", "partly", f"the model card sums up; {_headline(card)}"),
        ("background and intended use", "done", card.intended_use),
        ("aims and hypotheses", "partly",
         "aim: tell tumour from healthy on one slice; no hypothesis was stated beforehand"),
        ("prospective or retrospective", "done", "retrospective, on published collections"),
        ("study goal", "done", "development of a model and its internal testing"),
    )  # fmt: skip


def _data(
    card: ModelCard, split: Split, parts: Mapping[str, Sequence[Record]]
) -> tuple[Answer, ...]:
    sources = "; ".join(f"{d.source} (n = {d.n} for training, {d.licence})" for d in card.data)
    data = card.recipe.get("data", {})
    sizes = ", ".join(f"{part} {len(members)}" for part, members in parts.items())
    volumes = data.get("volumes")
    learnt = data.get("learnt_slices_per_plane")
    tilted = data.get("tilted_slices_per_plane")
    finer = f", and for training those of {learnt}" if learnt else ""
    finer += f", and {tilted} tilted ones a plane for training" if tilted else ""
    subset = (
        f"of volumes, {data.get('slices_per_plane')} evenly spaced slices a plane{finer}; "
        "all else whole"
        if volumes
        else "every labelled image of the sources was used"
    )
    leaky = split.name == RANDOM_LEAKY
    level: Answer = (
        "level of disjointness",
        "not done" if leaky else "done",
        "images only: copies of one scan and slices of one person may stand on both sides"
        if leaky
        else "groups of near-duplicates over eight poses, of known patients and of neighbouring "
        "slices; patients are mostly not named",
    )
    return (
        ("data sources", "done", sources or "not stated"),
        ("inclusion and exclusion", "partly",
         "every image with a label that can be decoded; how the sources chose is not documented"),
        ("preprocessing", "done",
         f"{card.preprocess.describe()}; stored in the model file and used by inference"),
        ("selection of subsets", "done", subset),
        ("de-identification", "partly", "by the sources before publication; not verified"),
        ("missing data", "done",
         "images without a label are left out; unknown views, patients and outlines stay unknown"),
        ("acquisition protocol", "not done", "the sources do not state scanner or sequence"),
        ("reference standard: method", "partly", "the label each source gives; not biopsy as far "
         "as is known"),
        ("reference standard: rationale", "not done", "no other label is available"),
        ("reference standard: annotators", "not done", "the sources do not name their readers"),
        ("annotation of the test set", "not done", "the sources' labels; nobody read them again"),
        ("variability of annotators", "not done", "one label an image"),
        ("assignment to partitions", "done",
         f"split {split.name}, seed {split.seed}: {sizes}; sha256 {split.sha256[:16]}"),
        level,
        ("sample size", "not done", "all that is available; no power was calculated"),
    )  # fmt: skip


def _model(card: ModelCard, versions: Mapping[str, str]) -> tuple[Answer, ...]:
    recipe = card.recipe
    trainer, optimizer = recipe.get("trainer", {}), recipe.get("optimizer", {})
    started = f"random, seed {recipe.get('seed')}"
    for part, weights in sorted((recipe.get("started_from") or {}).items()):
        whole = "all weights" if part == "init" else part
        started = f"{whole} from {weights['file']}, sha256 {weights['sha256']}; else {started}"
    pooling = f"; class map pooled by {card.pooling.kind}" if card.pooling else ""
    averaged = recipe.get("ema_decay") or 0
    ensembling = ["one network"]
    if averaged:
        ensembling.append(f"its weights are averaged over training (decay {averaged})")
    if members := recipe.get("joined_from") or []:
        digests = ", ".join(each["sha256"] for each in members)
        ensembling = [f"{len(members)} networks, their maps averaged; weights' sha256 {digests}"]
    augmented = dict(_augmentations(recipe.get("augment", {})))
    return (
        ("model described", "done",
         f"{card.architecture} {_settings(card.architecture_args)}{pooling}"),
        ("software", "done", ", ".join(f"{name} {found}" for name, found in versions.items())),
        ("initialisation", "done", started),
        ("training", "done",
         f"optimiser {_settings(optimizer)}; at most {trainer.get('max_epochs')} epochs of batches "
         f"of {recipe.get('data', {}).get('batch_size')}; augmentation {_settings(augmented)}; "
         f"loss {_settings(recipe.get('loss', {}))}"),
        ("choice of the final model", "done",
         f"best {recipe.get('monitor')} ({recipe.get('monitor_mode')}) on validation scans, the "
         "last epoch where there are none"),
        ("ensembling", "done" if members else "not applicable", "; ".join(ensembling)),
    )  # fmt: skip


def _evaluation(card: ModelCard) -> tuple[Answer, ...]:
    tested = any(metric.split == "test" for metric in card.metrics)
    held_out = card.recipe.get("data", {}).get("split", {}).get("held_out") or []
    unseen = "the test scans were not looked at in this run"
    names = sorted({metric.name for metric in card.metrics})
    external: Answer = (
        "external testing",
        "done" if held_out and tested else "not done",
        f"sources held out whole: {', '.join(held_out)}" if held_out and tested
        else "test scans come from the sources that were trained on" if tested else unseen,
    )  # fmt: skip
    return (
        ("performance metrics", "done" if names else "not done", ", ".join(names) or "none"),
        ("uncertainty", "done" if names else "not done",
         "95 % percentile intervals, bootstrap over groups of scans, 2000 resamples"),
        ("robustness analysis", "not done", "not part of a training run"),
        ("explainability", "done" if card.has_map else "not done",
         "the answer is pooled from a class map, which is shown" if card.has_map
         else "this network has no class map"),
        ("internal testing", "done" if tested else "not done",
         _headline(card) if tested else unseen),
        external,
        ("trial registration", "not applicable", "no trial"),
    )  # fmt: skip


def _results(card: ModelCard, parts: Mapping[str, Sequence[Record]]) -> tuple[Answer, ...]:
    total = sum(len(members) for members in parts.values())
    groups = len({record.group for members in parts.values() for record in members})
    measured: Status = "done" if card.metrics else "not done"
    return (
        ("numbers included and excluded", "partly",
         f"{total} images in {groups} groups; what the sources left out is not known"),
        ("demographics by partition", "not done",
         "the sources give none; the data card counts source and label by part"),
        ("performance with uncertainty", measured, "in the model card, part by part"),
        ("diagnostic accuracy", measured, _headline(card)),
        ("failure analysis", "not done", "the report shows a random sample, right and wrong; "
         "nobody has studied the errors"),
        ("limitations", "done", " ".join(card.limitations) or "none stated"),
        ("implications for practice", "done", card.intended_use),
        ("protocol", "partly", "the whole configuration is in the model file; no protocol was "
         "registered beforehand"),
        ("availability", "partly", f"software and weights: {card.licence}; scans: from their "
         "sources only, see the data card"),
        ("funding", "not done", "not known to the software; state it where you publish"),
    )  # fmt: skip


def _augmentations(settings: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every transform that the recipe applies, with its probability."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            own = value.get("prob")
            yield from [(name, own)] if own else _augmentations(value)
        elif name.startswith("p_") or name.endswith("_prob"):
            yield from [(name, value)] if value else []


def _headline(card: ModelCard) -> str:
    for part in ("test", "validation", "calibration"):
        found = {m.name: m for m in card.metrics if m.split == part}
        figures = [
            f"{name.replace('_', ' ')} {found[name].value:.3f} "
            f"({found[name].low:.3f} to {found[name].high:.3f})"
            for name in HEADLINE
            if name in found
        ]
        if figures:
            n = next(iter(found.values())).n
            return f"{part} scans, n = {n}: {', '.join(figures)}"
    return "nothing was measured"


def _settings(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items()) or "none"

"""Cards generated from a run: model card, data card, MONAI metadata and the CLAIM checklist.

Nothing is filled in by hand: what the run does not know is stated as unknown.
"""

from __future__ import annotations

import json
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData
from huggingface_hub import ModelCard as HubCard

from tumorlens.atomic import write_text
from tumorlens.data.catalogue import UNKNOWN_LICENCE, SourceInfo, source_info
from tumorlens.data.manifest import Record
from tumorlens.data.splits import Split
from tumorlens.modelfile import ModelCard
from tumorlens.modelfile.markdown import model_card_markdown
from tumorlens.pages.render import render
from tumorlens.reporting.claim import claim_markdown, main_part

MONAI_SCHEMA = (
    "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/"
    "meta_schema_20240725.json"
)
_PACKAGES = (
    "torch",
    "lightning",
    "monai",
    "numpy",
    "onnx",
    "onnxruntime",
    "opencv-python-headless",
)


def write_cards(
    card: ModelCard, split: Split, parts: Mapping[str, Sequence[Record]], run_dir: Path
) -> None:
    """Write ``MODEL_CARD.md``, ``DATA_CARD.md``, ``CLAIM.md`` and ``metadata.json``.

    Args:
        card: The model card of the run's model file.
        split: The run's split.
        parts: The split's records by part; a part without records is absent.
        run_dir: The run folder.

    Raises:
        OutputError: A file cannot be written.
    """
    texts = {
        "MODEL_CARD.md": str(hub_card(card)),
        "DATA_CARD.md": data_card_markdown(split, parts),
        "CLAIM.md": claim_markdown(card, split, parts, software_versions()),
        "metadata.json": json.dumps(monai_metadata(card), indent=4, ensure_ascii=False) + "\n",
    }
    for name, text in texts.items():
        write_text(run_dir / name, text)


def data_card_markdown(split: Split, parts: Mapping[str, Sequence[Record]]) -> str:
    """Return the run's data card: counts, licences, citations, missing annotations."""
    records = [record for members in parts.values() for record in members]
    names = sorted({record.source for record in records})
    return render(
        "data_card.md",
        split=split,
        count_columns=["source", *(f"{part}: tumour / healthy" for part in parts), "groups"],
        counts=[_counts(name, parts) for name in [*names, None]],
        known=[_known(name, [r for r in records if r.source == name]) for name in names],
        clear=[f"{i.name} ({i.licence})" for i in map(source_info, names) if _has_licence(i)],
        licences=[
            (info.name, info.licence, info.citation, info.url or "–")
            for info in map(source_info, names)
        ],
    )


def hub_card(card: ModelCard) -> HubCard:
    """Return the model card with the header that the Hugging Face Hub reads.

    The metrics of the held-out part become its evaluation results.
    """
    part = main_part(card)
    results = [
        EvalResult(
            task_type="image-classification",
            dataset_type="private",
            dataset_name=f"{part} part",
            metric_type=metric.name,
            metric_value=round(metric.value, 5),
        )
        for metric in card.metrics
        if metric.split == part
    ]
    header = ModelCardData(
        model_name=f"{card.name} {card.version}",
        license="other",
        license_name=card.licence,
        library_name="tumorlens",
        pipeline_tag="image-classification",
        tags=["medical", "mri", "brain-tumor", "onnx", "research-only"],
        eval_results=results or None,
    )
    return HubCard(f"---\n{header.to_yaml()}\n---\n\n{model_card_markdown(card)}")


def monai_metadata(card: ModelCard) -> dict[str, Any]:
    """Return the card in the fields of MONAI's bundle ``metadata.json``."""
    spec = card.preprocess
    versions = software_versions()
    answer = {"type": "probabilities", "format": "classes", "modality": "n/a"}
    outputs = {"logit": _tensor("log-odds of a tumour, before calibration", **answer)}
    if card.has_map:
        meaning = "class map in logit units, whose pooling is the logit"
        latent = {"type": "image", "format": "latent", "modality": "n/a"}
        outputs["map"] = _tensor(meaning, spatial_shape=["*", "*"], **latent)
    if card.ood is not None:
        meaning = "0 and above is a slice of a head's MRI to the OOD detector"
        outputs["in_domain"] = _tensor(meaning, **answer)
    if card.brain is not None:
        meaning = "0 and above shows enough brain for an answer"
        outputs["enough_brain"] = _tensor(meaning, **answer)
    part = main_part(card)
    return {
        "schema": MONAI_SCHEMA,
        "version": card.version,
        "changelog": {card.version: f"made on {card.created}"},
        "monai_version": versions.get("monai", "unknown"),
        "pytorch_version": versions.get("torch", "unknown"),
        "numpy_version": versions.get("numpy", "unknown"),
        "required_packages_version": {
            name: found for name, found in versions.items()
            if name in ("onnxruntime", "opencv-python-headless")
        },
        "optional_packages_version": {},
        "name": card.name,
        "task": "Brain MRI slice: tumour or healthy",
        "description": f"A {card.architecture} network that answers P(tumour) for one slice"
        + (", with the class map it was computed from." if card.has_map else "."),
        "authors": "The TumorLens authors",
        "copyright": "Copyright (c) The TumorLens authors",
        "license": card.licence,
        "data_source": "; ".join(f"{d.source} ({d.licence})" for d in card.data),
        "data_type": "image",
        "image_classes": f"{spec.channels} channel data, intensity scaled to [0, 1]",
        "label_classes": "0 is healthy, 1 is tumour",
        "pred_classes": "one logit; P(tumour) is sigmoid(logit / "
        f"{card.temperature:.6g} + {card.bias:.6g})",
        "eval_metrics": {m.name: m.value for m in card.metrics if m.split == part},
        "intended_use": card.intended_use,
        "references": [d.citation for d in card.data if d.citation not in (None, UNKNOWN_LICENCE)],
        "network_data_format": {
            "inputs": {
                "image": {
                    **_tensor("grey", type="image", format="magnitude", modality="MR"),
                    "num_channels": spec.channels,
                    "spatial_shape": [spec.size, spec.size],
                    "value_range": [0, 1],
                    "channel_def": {str(c): "grey" for c in range(spec.channels)},
                }
            },
            "outputs": outputs,
        },
    }  # fmt: skip


def _tensor(meaning: str, **fields: Any) -> dict[str, Any]:
    """Return MONAI's description of a tensor of one channel and any values."""
    return {
        "num_channels": 1,
        "spatial_shape": [],
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": False,
        "channel_def": {"0": meaning},
        **fields,
    }


def software_versions() -> dict[str, str]:
    """Return the versions of Python, TumorLens and the packages that a run depends on."""
    versions = {"python": platform.python_version()}
    for name in ("tumorlens", *_PACKAGES):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:  # from an extra that is not installed
            continue
    return versions


def _counts(name: str | None, parts: Mapping[str, Sequence[Record]]) -> tuple[object, ...]:
    cells = []
    groups = set()
    for members in parts.values():
        mine = [record for record in members if name in (None, record.source)]
        labels = Counter(record.label for record in mine)
        groups |= {record.group for record in mine}
        cells.append(f"{labels[1]} / {labels[0]}")
    return (name or "**all**", *cells, len(groups))


def _known(name: str, records: Sequence[Record]) -> tuple[object, ...]:
    tumours = [record for record in records if record.label == 1]

    def share(known: int, of: int) -> str:
        return f"{known} of {of}" if of else "–"

    return (
        name,
        share(sum(record.view is not None for record in records), len(records)),
        share(sum(record.tumour_type is not None for record in tumours), len(tumours)),
        share(sum(bool(record.boxes or record.polygons) for record in tumours), len(tumours)),
        share(sum(record.patient is not None for record in records), len(records)),
    )


def _has_licence(info: SourceInfo) -> bool:
    return not info.licence.startswith(("unclear", "unknown"))

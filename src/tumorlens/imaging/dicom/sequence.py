"""The MR sequence by its contrast, from the parameters of the acquisition.

Limits in milliseconds, wide enough for 1.5 and 3 tesla: W. R. Nitz and P. Reimer, "Contrast
mechanisms in MR imaging", Eur Radiol 9 (1999) 1032-1046.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tumorlens.imaging.header import SequenceName

_LONG_TR = 1500.0  # spin echo: shorter is weighted by T1
_LONG_TE = 55.0  # spin echo: longer is weighted by T2
_GRADIENT_TE = 12.0  # gradient echo: longer is weighted by T2*
_GRADIENT_TR = 3000.0
_FLAIR_TI = 1400.0  # inversion that nulls fluid; shorter ones weight by T1 or null fat
_FAT_TI = 300.0
_NO_AGENT = frozenset({"", "NONE", "NO", "N", "NA", "N/A", "0", "OFF", "WITHOUT", "NATIVE",
                       "NO CONTRAST", "NONCONTRAST", "NON-CONTRAST"})  # fmt: skip
# AcquisitionContrast of enhanced files (PS3.3, C.8.13.3.1).
_CONTRASTS: dict[str, SequenceName] = {
    "T1": "T1", "T2": "T2", "PROTON_DENSITY": "PD", "FLUID_ATTENUATED": "FLAIR",
    "DIFFUSION": "DWI", "FLOW_ENCODED": "other", "PERFUSION": "other", "STIR": "other",
    "T2_STAR": "other", "TAGGING": "other", "TEMPERATURE": "other", "MIXED": "other",
}  # fmt: skip
_DIFFUSION = re.compile(
    r"diff|dwi|dti|\badc\b|apparent|trace|tensor|\bb\s?=?\s?(500|[189]00|1000)\b"
)
_OTHER = re.compile(
    r"swi|swan|venobold|\btof|mra\b|mrv\b|angio|t2\s?\*|t2star|bold|fmri|perf|\bpwi|\basl|"
    r"\bdsc|\bdce|ciss|fiesta|stir|spectr|\bmrs|field.?map|phase|hemo|qsm|\bcbf|\bcbv"
)
_NAMES: tuple[tuple[re.Pattern[str], SequenceName], ...] = (
    (re.compile(r"t1.{0,6}flair"), "T1"),
    (re.compile(r"flair|dark.?fluid|fluid.?atten"), "FLAIR"),
    (re.compile(r"t1|mp-?rage|mp2rage|spgr|bravo|vibe|\btfe|flash|fspgr|\bir.?fse"), "T1"),
    (re.compile(r"t2|haste"), "T2"),
    (re.compile(r"\bpd|proton|dens"), "PD"),
)
_WITHOUT_AGENT = re.compile(
    r"\bpre\b|without|w/?o\b|\bnon?.?(c|con|contrast|gad|gd|ce)\b|unenhanced|nativ|\bsans\b|\bohne\b"
)
_WITH_AGENT = re.compile(
    r"post\b|post.?(con|gad|gd|km|c\b)|gado|\bgad|\bgd\b|\+\s?(c|gd|gad|km)\b|\bce\b|t1c\b|"
    r"contrast|enhanced|\bkm\b|with\s?c\b|dotarem|gadavist|multihance|\bmdc\b|\binj"
)


@dataclass(frozen=True)
class Acquisition:
    """Parameters of one acquisition; None or empty where the header does not say.

    Attributes:
        echo_ms: echo time, in milliseconds.
        repetition_ms: repetition time.
        inversion_ms: inversion time.
        kinds: Scanning Sequence: ``SE IR GR EP RM``.
        variants: Sequence Variant: ``SK MTC SS TRSS SP MP OSP``.
        contrast: Acquisition Contrast of enhanced files.
        agent: Contrast/Bolus Agent; None if the element is absent.
        b_value: diffusion weighting, in s/mm².
        names: Sequence Name and Series Description, asked last.
    """

    echo_ms: float | None = None
    repetition_ms: float | None = None
    inversion_ms: float | None = None
    kinds: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()
    contrast: str = ""
    agent: str | None = None
    b_value: float | None = None
    names: str = ""


def classify(scan: Acquisition) -> SequenceName:
    """Return the sequence of one acquisition.

    Diffusion first, then the contrast that the header names, then echo, repetition and inversion
    times, and the names last. ``T1C`` is T1 with a contrast agent in the header, or in the names
    where the header has no element for the agent.
    """
    names = re.sub(r"[_\-.]+", " ", scan.names.lower())
    found = _CONTRASTS.get(scan.contrast.upper()) or _by_times(scan, names)
    if found == "unknown":
        found = _by_names(names)
    return "T1C" if found == "T1" and _with_agent(scan, names) else found


def _by_times(scan: Acquisition, names: str) -> SequenceName:
    te, tr, ti = scan.echo_ms or 0.0, scan.repetition_ms or 0.0, scan.inversion_ms or 0.0
    kinds = set(scan.kinds)
    if (scan.b_value or 0) > 0 or _DIFFUSION.search(names) or "ep b" in names:
        return "DWI"
    if _OTHER.search(names):
        return "other"
    if "EP" in kinds:
        return "other"  # functional, perfusion, or diffusion that does not say so
    if not te or not tr:
        return "unknown"
    if "GR" in kinds:
        return _gradient_echo(scan, te, tr, ti)
    if not kinds & {"SE", "IR"} and tr < 100:
        return "T1" if te <= _GRADIENT_TE else "other"
    if ti > 0 and ti >= _FLAIR_TI and te >= _LONG_TE:
        return "FLAIR"
    if 0 < ti <= _FAT_TI and "IR" in kinds:
        return "other"  # STIR
    if ti > 0 and te < _LONG_TE:
        return "T1"
    if tr < _LONG_TR:
        return "T1" if te < _LONG_TE else "other"
    return "T2" if te >= _LONG_TE else "PD"


def _gradient_echo(scan: Acquisition, te: float, tr: float, ti: float) -> SequenceName:
    if "MP" in scan.variants or ti > 0:
        return "T1"
    # Steady state without spoiling mixes T2 and T1.
    if "SS" in scan.variants and "SP" not in scan.variants:
        return "other"
    return "T1" if te <= _GRADIENT_TE and tr < _GRADIENT_TR else "other"


def _by_names(names: str) -> SequenceName:
    return next((name for pattern, name in _NAMES if pattern.search(names)), "unknown")


def _with_agent(scan: Acquisition, names: str) -> bool:
    if scan.agent is not None:
        return scan.agent.strip().upper() not in _NO_AGENT
    return bool(_WITH_AGENT.search(names)) and not _WITHOUT_AGENT.search(names)

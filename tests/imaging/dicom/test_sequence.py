"""The sequence by its contrast, from the parameters of the acquisition."""

from __future__ import annotations

from typing import Any

import pytest

from tumorlens.imaging.dicom.sequence import Acquisition, classify
from tumorlens.imaging.header import SequenceName

SE, GR, IR, EP = ("SE",), ("GR",), ("IR", "SE"), ("EP", "SE")


def times(te: float, tr: float, ti: float | None = None) -> dict[str, Any]:
    return {"echo_ms": te, "repetition_ms": tr, "inversion_ms": ti}


@pytest.mark.parametrize(
    ("parameters", "sequence"),
    [
        ({}, "unknown"),
        # Spin echo at 1.5 and 3 tesla, and the three-dimensional turbo spin echoes.
        ({**times(12, 550), "kinds": SE}, "T1"),
        ({**times(20, 700), "kinds": SE, "variants": ("SK",)}, "T1"),
        ({**times(100, 4500), "kinds": SE}, "T2"),
        ({**times(408, 3200), "kinds": SE}, "T2"),
        ({**times(18, 3000), "kinds": SE}, "PD"),
        ({**times(30, 2500)}, "PD"),
        ({**times(90, 3000)}, "T2"),
        ({**times(120, 9000, 2500), "kinds": IR}, "FLAIR"),
        ({**times(388, 5000, 1800), "kinds": SE}, "FLAIR"),
        ({**times(12, 2000, 860), "kinds": IR}, "T1"),  # T1 FLAIR
        ({**times(60, 4000, 160), "kinds": IR}, "other"),  # STIR
        # Gradient echo.
        ({**times(2.98, 2300, 900), "kinds": ("GR", "IR"), "variants": ("SK", "SP", "MP")}, "T1"),
        ({**times(3.0, 7.0), "kinds": GR, "variants": ("SP",)}, "T1"),
        ({**times(4.6, 250), "kinds": GR}, "T1"),
        ({**times(20, 28), "kinds": GR, "variants": ("SP",)}, "other"),  # SWI
        ({**times(25, 700), "kinds": GR}, "other"),  # T2*
        ({**times(2.4, 5.0), "kinds": GR, "variants": ("SS",)}, "other"),  # CISS, FIESTA
        ({**times(3.6, 22), "kinds": GR, "names": "tof_3d_multi-slab"}, "other"),
        # Echo planar.
        ({**times(90, 5000), "kinds": EP, "b_value": 1000.0}, "DWI"),
        ({**times(90, 5000), "kinds": EP, "names": "*ep_b1000t"}, "DWI"),
        ({**times(90, 5000), "kinds": EP, "names": "AX DWI b=1000"}, "DWI"),
        ({**times(30, 2000), "kinds": ("EP", "GR")}, "other"),
        ({**times(90, 5000), "kinds": EP, "b_value": 0.0}, "other"),
        # Contrast agent.
        ({**times(12, 550), "kinds": SE, "agent": "GADAVIST"}, "T1C"),
        ({**times(12, 550), "kinds": SE, "agent": ""}, "T1"),
        ({**times(12, 550), "kinds": SE, "agent": "NONE", "names": "t1 post"}, "T1"),
        ({**times(12, 550), "kinds": SE, "names": "t1_se_tra +KM"}, "T1C"),
        ({**times(12, 550), "kinds": SE, "names": "AX T1 POST GAD"}, "T1C"),
        ({**times(12, 550), "kinds": SE, "names": "t1 without contrast"}, "T1"),
        ({**times(12, 550), "kinds": SE, "names": "AX T1 PRE"}, "T1"),
        ({**times(100, 4500), "kinds": SE, "agent": "GADAVIST"}, "T2"),
        # Enhanced files say it.
        ({"contrast": "FLUID_ATTENUATED"}, "FLAIR"),
        ({"contrast": "T1", "agent": "DOTAREM"}, "T1C"),
        ({"contrast": "PROTON_DENSITY"}, "PD"),
        # Names, where nothing else is there.
        ({"names": "t1_mpr_ns_sag_p2_iso"}, "T1"),
        ({"names": "SAG MPRAGE post"}, "T1C"),
        ({"names": "Ax T2 FLAIR"}, "FLAIR"),
        ({"names": "Ax T1 FLAIR"}, "T1"),
        ({"names": "t2_tse_tra"}, "T2"),
        ({"names": "t2*_fl2d"}, "other"),
        ({"names": "PD_weighted"}, "PD"),
        ({"names": "ep2d_diff_trace"}, "DWI"),
        ({"names": "BRAVO"}, "T1"),
        ({"names": "Doe, Jane"}, "unknown"),
    ],
)
def test_the_sequence(parameters: dict[str, Any], sequence: SequenceName) -> None:
    assert classify(Acquisition(**parameters)) == sequence

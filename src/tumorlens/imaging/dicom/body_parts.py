"""Body parts, from the words that headers use in several languages to a fixed English one.

A header's own words are never repeated: the element may hold anything, a name among it.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise

HEAD = "head"
_WORDS = {
    HEAD: (
        "head brain skull cranium cranial cerebrum cerebral intracranial cerebellum encephalon "
        "encephalic neurocranium neuro iac iam pituitary hypophysis sella orbit orbits orbita eye "
        "eyes face sinus sinuses headneck hippocampus kopf schadel schaedel hirn gehirn neurokopf "
        "tete crane cerveau encephale cabeza craneo cerebro encefalo cabeca testa cranio "
        "cervello hoofd schedel hersenen huvud hjarna hode hjerne hoved glowa mozg czaszka"
    ),
    "neck": "neck hals cou cuello collo pescoco larynx pharynx thyroid carotid parotid tongue",
    "spine": (
        "spine cspine tspine lspine sspine ctspine tlspine lsspine clspine wspine spinal cervical "
        "thoracic thoracolumbar lumbar lumbosacral sacrum sacral coccyx vertebra wirbelsaule "
        "hws bws lws rachis colonne columna colonna coluna"
    ),
    "chest": "chest thorax lung lungs lunge poumon pecho torace torax mediastinum rib ribs sternum",
    "heart": "heart cardiac herz coeur corazon cuore coronary cardio",
    "breast": "breast mamma breasts mammo sein mama seno brust",
    "abdomen": (
        "abdomen abdominal liver leber foie kidney kidneys niere renal pancreas spleen stomach "
        "bowel colon gallbladder mrcp bauch adrenal urinary"
    ),
    "pelvis": (
        "pelvis pelvic becken bassin bacino prostate uterus ovary bladder rectum scrotum testis "
        "fetus fetal placenta sijoint"
    ),
    "knee": "knee knees knie genou rodilla ginocchio joelho kolano patella",
    "hip": "hip hips hufte hanche cadera anca quadril biodro",
    "ankle": "ankle ankles sprunggelenk cheville tobillo caviglia tornozelo",
    "foot": "foot feet fuss fus pied pie piede toe toes calcaneus heel",
    "leg": "leg legs thigh calf femur tibia fibula bein oberschenkel unterschenkel jambe pierna",
    "shoulder": "shoulder shoulders schulter epaule hombro spalla ombro clavicle scapula",
    "elbow": "elbow ellbogen ellenbogen coude codo gomito cotovelo",
    "wrist": "wrist handgelenk poignet muneca polso punho",
    "hand": "hand hands mano mao finger fingers thumb",
    "arm": "arm arms humerus forearm oberarm unterarm bras brazo braccio radius ulna",
    "jaw": "jaw tmj mandible kiefer teeth tooth",
    "extremity": "extremity extremities",
    "whole body": "wholebody ganzkorper",
    "aorta": "aorta vessel vessels",
    "phantom": "phantom",
}  # fmt: skip
_PART_OF = {word: part for part, words in _WORDS.items() for word in words.split()}


def body_part(text: str) -> str | None:
    """Return the body part that ``text`` names, in English from the fixed vocabulary, or None.

    ``head`` wins where several are named (``HEAD AND NECK``).

    >>> body_part("C-SPINE"), body_part("Kopf/Hals"), body_part("ward 7")
    ('spine', 'head', None)
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    words = re.findall(r"[a-z]+", plain)
    # C-SPINE, HEAD_NECK and WHOLE BODY are also written as one word.
    words += [first + second for first, second in pairwise(words)]
    found = [_PART_OF[word] for word in words if word in _PART_OF]
    return HEAD if HEAD in found else next(iter(found), None)

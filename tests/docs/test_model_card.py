"""The model card of the docs is the packaged model's own."""

from __future__ import annotations

from pathlib import Path

from tumorlens.inference.default_model import find_model
from tumorlens.modelfile import read_card
from tumorlens.modelfile.markdown import model_card_markdown

PAGE = Path(__file__).resolve().parents[2] / "docs" / "model-card.md"


def test_the_page_is_what_the_command_prints() -> None:
    """`tumorlens model --markdown > docs/model-card.md` writes it anew."""
    assert PAGE.read_text("utf-8") == model_card_markdown(read_card(find_model(None)))

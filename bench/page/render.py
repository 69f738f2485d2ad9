"""What the page shows → one HTML file: style and script inside, and nothing that it could ask a network for."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from bench.page.charts import swatch


def render(**content: Any) -> str:
    """Fill the template; every text in `content` is escaped but for what is marked as SVG or HTML of ours."""
    style, script = (_asset(name) for name in ("page.css", "page.js"))
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
        f"script-src 'sha256-{_digest(script)}'"
    )
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    template = environment.from_string(_asset("page.html"))
    inside = {"style": Markup(style), "script": Markup(script), "policy": policy}  # ours, no input
    return template.render(**inside, swatch=_swatch, ours=Markup, **content)  # charts escape their texts


def svg_address(path: Path) -> str:
    """A picture that lies in a file, as a source of its own: its style touches no other picture of the page."""
    return f"data:image/svg+xml;base64,{base64.b64encode(path.read_bytes()).decode()}"


def _swatch(mark: Any) -> Markup:
    return Markup(swatch(mark))  # numbers alone


def _asset(name: str) -> str:
    return (files("bench.page") / "assets" / name).read_text(encoding="utf-8")


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()

"""Hash of the code that a result depends on."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from types import ModuleType

from bench.base.files import digest


def code_digest(module: ModuleType) -> str:
    """Hash of a module's source and of all of this project's that it uses, so that changed code is a changed result."""
    seen: dict[str, str] = {}
    waiting = [module]
    while waiting:
        current = waiting.pop()
        if current.__name__ in seen or not (source := getattr(current, "__file__", None)):
            continue
        seen[current.__name__] = hashlib.sha256(Path(source).read_bytes()).hexdigest()
        for value in vars(current).values():
            used = value if isinstance(value, ModuleType) else sys.modules.get(getattr(value, "__module__", None) or "")
            if used is not None and used.__name__.startswith("bench."):
                waiting.append(used)
    return digest(seen)

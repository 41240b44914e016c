"""audiogen: a folder of sounds in, a text-prompted generator of raw audio out.

The public names are loaded on first use, so that `import audiogen` costs no torch import.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from audiogen.experiment import load_config
    from audiogen.pipeline import Pipeline

__all__ = ["Pipeline", "__version__", "load_config"]
__version__ = "0.1.0"

_LAZY = {
    "Pipeline": ("audiogen.pipeline", "Pipeline"),
    "load_config": ("audiogen.experiment", "load_config"),
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'audiogen' has no attribute {name!r}")
    module, attribute = _LAZY[name]
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return __all__

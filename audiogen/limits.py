"""What may be asked for at all; it stands apart so that asking for more is told at once."""

from __future__ import annotations

MAX_SEED = 2**63 - 1
"""The last seed; the first is 0."""
MIN_SECONDS = 0.5
"""The shortest take that is no loop."""
MAX_WINDOWS = 12
"""The longest take, in training windows of its model."""
MAX_SEMITONES = 24
"""How far a pitch is moved, up or down."""

"""The curation page of a pack: one self-contained file that works from disk and offline."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from audiogen.pack.curation.cards import Card, near_duplicates
from audiogen.pack.curation.choices import SELECTION_FILE, read_selection
from audiogen.pack.curation.store import THREADS, kept_card, page_seconds
from audiogen.pack.job import read_job, take_path
from audiogen.pack.progress import show_progress
from audiogen.pages.markup import fill_page
from audiogen.pages.pictures import picture_uri, shared_reference
from audiogen.storage import atomic_write_text, digest_of

PAGE_FILE = "index.html"
TEMPLATE = Path(__file__).with_name("page.html")
"""Its script lies beside it. All texts go in as JSON, and the script shows them as text."""
NEAREST = 3
"""Near-duplicates that a card names."""


def write_page(pack: Path) -> Path:
    """Write `pack`/index.html of the takes that are made so far.

    What the last page showed of a take that is still the same is taken from there.

    Returns:
        The page.

    Raises:
        ValueError: no take is made, or one is damaged.
    """
    job = read_job(pack)
    takes = [take for take in job if take_path(pack, take).exists()]
    if not takes:
        raise ValueError(
            f"{pack}: no takes here; `audiogen texture make LIST --model RUN --out {pack}` makes"
            " some"
        )
    cards, sounds = [], []
    show = partial(kept_card, pack, seconds=page_seconds(job))
    with show_progress("cards", len(takes), 0) as update, ThreadPoolExecutor(THREADS) as pool:
        for card, sound in pool.map(show, takes):
            cards.append(card)
            sounds.append(sound)
            update(len(cards))
    blocks = (
        f'<script type="text/plain" id="sound-{number}">{uri}</script>'
        for number, uri in enumerate(sounds)
    )
    page = fill_page(
        pack.resolve().name,
        TEMPLATE,
        data=script_json(_tree(pack, cards)),
        script=TEMPLATE.with_suffix(".js").read_text(encoding="utf-8"),
        sounds="\n".join(blocks),
    )
    target = pack / PAGE_FILE
    atomic_write_text(target, page)
    return target


def update_page(pack: Path) -> Path:
    """Write the page of a pack unless it is newer than all its takes; see `write_page`."""
    page = pack / PAGE_FILE
    files = (take_path(pack, take) for take in read_job(pack))
    newest = max((file.stat().st_mtime for file in files if file.exists()), default=math.inf)
    return page if page.is_file() and page.stat().st_mtime > newest else write_page(pack)


def script_json(tree: Mapping[str, Any]) -> str:
    """Return JSON that stands in a script element: nothing in it ends the element."""
    text = json.dumps(tree, ensure_ascii=False, allow_nan=False)
    return re.sub("[<>&\u2028\u2029]", lambda found: f"\\u{ord(found[0]):04x}", text)


def _tree(pack: Path, cards: Sequence[Card]) -> dict[str, Any]:
    """All that the page knows but its sounds."""
    reference = shared_reference([card.image for card in cards])
    with ThreadPoolExecutor(THREADS) as pool:
        draw = partial(picture_uri, reference_db=reference)
        pictures = list(pool.map(draw, [card.image for card in cards]))
    near = near_duplicates([card.fingerprint for card in cards])
    first = _firsts(cards)
    takes = [
        {
            **card.facts,
            "picture": picture,
            "near": [
                [cards[other].facts["file"], round(distance, 1)]
                for other, distance in [one for one in others if first[one[0]] != first[number]][
                    :NEAREST
                ]
            ],
        }
        for number, (card, picture, others) in enumerate(zip(cards, pictures, near, strict=True))
    ]
    chosen = pack / SELECTION_FILE
    return {
        "name": pack.resolve().name,
        # Choices that a browser keeps belong to this pack, wherever it is moved.
        "id": digest_of([card.facts["file"] for card in cards[:1]]),
        "selection": read_selection(pack).model_dump(mode="json"),
        "selection_time": chosen.stat().st_mtime * 1000 if chosen.exists() else 0,
        "takes": takes,
    }


def _firsts(cards: Sequence[Card]) -> list[str]:
    """For each card the take that it goes back to: what is made from one is meant to be like it."""
    parents = {card.facts["file"]: card.facts["parent"] for card in cards}
    found = []
    for card in cards:
        file, seen = card.facts["file"], set[str]()
        while parents.get(file) and file not in seen:
            seen.add(file)
            file = parents[file]
        found.append(file)
    return found

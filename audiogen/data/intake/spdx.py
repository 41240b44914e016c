"""Names of licences: the SPDX identifier that a text or an address makes evident."""

from __future__ import annotations

import re

from audiogen.data.intake.licences import KINDS, SAMPLING_PLUS

CREATIVE_COMMONS = re.compile(
    r"(?:cc|creative commons|creativecommons\.org/licenses)?[\s/_-]*"
    r"(?P<terms>\b(?:by|attribution)(?:[\s/_-]*(?:nc|sa|nd|non-?commercial|share-?alike"
    r"|no-?deriv(?:ative)?s?(?: works)?))*)"
    r"[\s/_-]*v?(?P<version>[1-4]\.\d)(?![\d.])"
)
PUBLIC_DOMAIN = re.compile(
    r"\b(?:cc[\s-]?0|creative commons (?:0|zero)|(?:creativecommons\.org/)?publicdomain/zero)\b"
    r"(?:[\s/-]?v?1\.0(?![\d.]))?"
)
SAMPLING_PLUS_TEXT = re.compile(
    r"(?:creativecommons\.org/licenses/|cc[\s-]|creative commons )?"
    r"\bsampling(?:\+|[\s-]?plus)(?:[\s/-]*1\.0(?![\d.]))?"
)
FILLER = frozenset(
    re.findall(
        r"\w+",
        "http https www license licence licensed under the a and international unported universal"
        " generic public domain dedication deed legalcode en",
    )
)
"""Words beside the name of a licence that do not change it; any other word might."""
TERMS = {"NC": "nc|non", "ND": "nd|deriv", "SA": "sa|share"}
"""What the terms of `CREATIVE_COMMONS` beside attribution are known by, in SPDX's order."""
OTHER_LICENCES = {"apache 2.0": "Apache-2.0"}


def spdx(licence: str) -> str:
    """Return the SPDX identifier where the text or URL makes it evident, else the text.

    Evident is a text that names one licence and says nothing else: "CC BY 4.0, no resale", "not
    CC0" and "CC0 or CC BY 4.0" stay as they are.
    """
    text = " ".join(licence.split())
    lower = text.lower()
    if not text.isascii():  # letters that only look like others
        return text
    known = {name.lower(): name for name in KINDS} | OTHER_LICENCES
    if lower in known:
        return known[lower]
    names: set[str] = set()

    def note(name: str) -> str:
        names.add(name)
        return " "

    rest = SAMPLING_PLUS_TEXT.sub(lambda _: note(SAMPLING_PLUS), lower)
    rest = PUBLIC_DOMAIN.sub(lambda _: note("CC0-1.0"), rest)
    rest = CREATIVE_COMMONS.sub(lambda found: note(_creative_commons(found)), rest)
    is_plain = re.fullmatch(r"[\w\s:/.,()-]*", rest) and FILLER.issuperset(re.findall(r"\w+", rest))
    return names.pop() if is_plain and len(names) == 1 else text


def _creative_commons(found: re.Match[str]) -> str:
    """The SPDX identifier of a match of `CREATIVE_COMMONS`."""
    terms = [name for name, known_by in TERMS.items() if re.search(known_by, found["terms"])]
    return "-".join(["CC", "BY", *terms, found["version"]])

"""The kinds of facts that are looked for."""

from enum import StrEnum


class FactKind(StrEnum):
    """What kind of fact."""

    NUMBERS = "numbers"
    """By value: 4.6 亿 is 460,000,000, 30 % is 30. 0, 1 and 2 without a unit, ordinals and list numbers don't count."""
    DATES = "dates"
    """Years, months and days; what is given must occur together in one date of a source."""
    EMAILS = "emails"
    """E-mail and web addresses."""
    NAMES = "names"
    """Latin proper nouns and product words; Chinese organisations and 《titles》."""

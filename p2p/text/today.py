"""The date that a chat template may ask for.

Law: a function of the request; no clock is read, so every side makes the same prompt at any time.

Templates ask by `strftime_now("%d %b %Y")`. The answer is the day that the request names in its template arguments
(`{"today": "2026-03-01"}`), else DAY.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date

ARGUMENT = "today"  # of Chat.template_args
DAY = date(2025, 1, 1)  # where a request names none
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)
_DIRECTIVE = re.compile("%(-?.?)", re.DOTALL)
# Written out, because the words of the C library depend on the machine's locale.
_WRITTEN: dict[str, Callable[[date], str]] = {
    "%": lambda day: "%",
    "Y": lambda day: f"{day.year:04}",
    "y": lambda day: f"{day.year % 100:02}",
    "m": lambda day: f"{day.month:02}",
    "-m": lambda day: f"{day.month}",
    "d": lambda day: f"{day.day:02}",
    "-d": lambda day: f"{day.day}",
    "e": lambda day: f"{day.day:2}",
    "j": lambda day: f"{day.timetuple().tm_yday:03}",
    "B": lambda day: _MONTHS[day.month - 1],
    "b": lambda day: _MONTHS[day.month - 1][:3],
    "A": lambda day: _DAYS[day.weekday()],
    "a": lambda day: _DAYS[day.weekday()][:3],
    "F": lambda day: day.isoformat(),
    "H": lambda day: "00",
    "I": lambda day: "12",
    "p": lambda day: "AM",
    "M": lambda day: "00",
    "S": lambda day: "00",
    "T": lambda day: "00:00:00",
    "f": lambda day: "000000",
    "Z": lambda day: "",
    "z": lambda day: "",
}


def read_day(value: object) -> date:
    """The day that a template argument names, as "2026-03-01". Raises ValueError for anything else."""
    if not isinstance(value, str) or not re.fullmatch(r"\d{4}-\d\d-\d\d", value, re.ASCII):
        raise ValueError("a day is written as 2026-03-01")
    return date.fromisoformat(value)


def written(day: date, form: str) -> str:
    """`day` at midnight in a form of strftime. Raises ValueError for a directive that is not in the table."""

    def one(found: re.Match[str]) -> str:
        if found[1] not in _WRITTEN:
            raise ValueError(f"a date's form has {found[0]!r}; allowed are %{' %'.join(_WRITTEN)}")
        return _WRITTEN[found[1]](day)

    return _DIRECTIVE.sub(one, form)

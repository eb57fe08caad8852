"""Where does a history begin, for those who judge it and for those who run it from nothing?

Two remarks in the manifest tell. What was applied everywhere before anybody judged it (`adopted up to`) is not judged like what is new,
and a history whose first revisions need tables that none of them makes has a baseline to start from.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from railhead.history.files import escape, unescape

_ADOPTED = "# adopted up to "
_BASELINE = "# baseline "


class Origin(NamedTuple):
    """What a manifest says of the beginning of its history."""

    adopted: str | None = None
    """The newest revision that is older than the first seal; it and all that it builds on are not judged."""
    baseline: str | None = None
    """The revision whose schema migrations/baseline.sql makes; it and all that it builds on are not replayed."""
    digest: str | None = None
    """Of the file of the baseline when it was sealed."""

    def remarks(self) -> Iterator[str]:
        """Yield the lines for the manifest."""
        if self.adopted:
            yield f"{_ADOPTED}{escape(self.adopted)}"
        if self.baseline:
            yield f"{_BASELINE}{escape(self.baseline)} {self.digest}"

    @classmethod
    def parse(cls, text: str) -> Origin:
        """Return what the remarks in the text of a manifest say; in a conflict, the first of each kind."""
        adopted = re.search(rf"^{_ADOPTED}(\S+)$", text, re.MULTILINE)
        baseline = re.search(rf"^{_BASELINE}(\S+) (\S+)$", text, re.MULTILINE)
        return cls(
            unescape(adopted[1]) if adopted else None,
            unescape(baseline[1]) if baseline else None,
            baseline[2] if baseline else None,
        )

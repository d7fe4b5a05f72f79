"""What may stand in Latin letters in a Chinese report, and what may not."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

# Names of tests, methods and files, and options as they are typed.
LATIN = {
    *("McNemar", "Wilson", "Holm", "Newcombe", "Cochran", "Spearman", "Kappa", "kappa", "Krippendorff", "Alpha", "alpha"),
    *("SHA", "DISC", "MLEC", "QA", "README", "few", "shot", "json", "html", "results", "report"),
    *("safety", "medllm", "eval", "cases", "ask", "diagnosis", "reply", "reasoning", "likelihood"),
}


def english_in(chinese: str) -> set[str]:
    """The English words that a Chinese text must not have; places for parts, code and hashes are no words."""
    return set(re.findall(r"[A-Za-z]{2,}", re.sub(r"\{\w+\}|`[^`]*`|https?://\S+|\b[0-9a-f]{8,}\b", "", chinese))) - LATIN


class _Texts(HTMLParser):
    """The texts of a page, and what its labels say; `data` is what its script is given."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.data = ""
        self._inside: list[tuple[str, bool]] = []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        own = dict(attrs)
        self._inside.append((tag, own.get("id") == "data"))
        self.texts += [own[name] for name in ("aria-label", "placeholder", "title", "data-say") if own.get(name)]

    def handle_endtag(self, tag: str) -> None:
        while self._inside and self._inside.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        tag, is_data = self._inside[-1] if self._inside else ("", False)
        if is_data:
            self.data += data
        elif tag not in ("script", "style", "pre"):
            self.texts.append(data)


def texts_of(page: Path) -> list[str]:
    """The sentences of a report's page: what it shows, its labels, and what its script may show besides transcripts."""
    found = _Texts()
    found.feed(page.read_text(encoding="utf-8"))
    texts = [" ".join(text.split()) for text in found.texts if text.strip()]
    if not found.data:
        return texts
    data = json.loads(found.data)
    for one in data["sets"]:
        texts += [one["name"], *one["criteria"], *(row[5] for row in one["rows"] if row[5])]
    return texts + list(data["say"].values())

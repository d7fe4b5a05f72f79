"""Texts in the languages of reports: a phrase stands once, its English beside its Chinese."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from string import Formatter
from typing import Literal, get_args

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = get_args(Language)
DEFAULT: Language = "en"


@dataclass(frozen=True)
class Text:
    """What a report says, in each language. It is no string until a language is named, so that none is taken by mistake."""

    en: str
    zh: str

    def __str__(self) -> str:
        raise TypeError("a text of a report has no words before its language is named")

    def __add__(self, other: "str | Text") -> "Text":
        return in_each(lambda language: say(self, language) + say(other, language))

    def __radd__(self, other: str) -> "Text":
        return Text(other + self.en, other + self.zh)


Words = str | Text


@dataclass(frozen=True)
class Phrase(Text):
    """A text with places for parts in braces, which are texts themselves, names or numbers.

    Raises:
        ValueError: the languages have other places, when the phrase is made.
    """

    def __post_init__(self) -> None:
        places = [sorted(name for _, name, *_ in Formatter().parse(text) if name is not None) for text in (self.en, self.zh)]
        if places[0] != places[1]:
            raise ValueError(f"places {places[0]} in English and {places[1]} in Chinese: {self.en}")

    def __call__(self, **parts: object) -> Text:
        """The phrase with its parts in their places."""
        return in_each(lambda language: say(self, language).format(**_said(parts, language)))


COMMA = Text(", ", "，")
SEMICOLON = Text("; ", "；")
LIST = Text(", ", "、")
# Between settings, whose values can end in a comma.
SETTINGS = Text(", ", "；")
SAME = Phrase("{text}", "{text}")


def in_each(make: Callable[[Language], str]) -> Text:
    """The text that `make` gives for each language."""
    return Text(make("en"), make("zh"))


def joined(parts: Iterable[Words], between: Words = LIST) -> Text:
    """The parts one after another with `between` in between."""
    parts = list(parts)
    return in_each(lambda language: say(between, language).join(say(part, language) for part in parts))


def say(words: Words, language: Language) -> str:
    """The words in a language; a name is the same in all."""
    return words if isinstance(words, str) else {"en": words.en, "zh": words.zh}[language]


def _said(parts: Mapping[str, object], language: Language) -> dict[str, object]:
    return {name: say(part, language) if isinstance(part, Text) else part for name, part in parts.items()}


# What the tables of several rooms are headed by.
SYSTEM, RUN, INTERVAL = Phrase("system", "系统"), Phrase("run", "运行"), Phrase("95% interval", "95% 置信区间")
P, P_HOLM = Phrase("p", "p 值"), Phrase("p, Holm", "p 值（Holm）")
MINUS_HEAD, MINUS = Phrase("first minus second", "前者减后者"), Phrase("{first} minus {second}", "{first} 减 {second}")
NO_NAME = Phrase("(none)", "（未注明）")

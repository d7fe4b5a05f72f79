"""A fact as the rules read it: the words that name it, in one form, and what a clause says of it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Protocol

from medllm_hf.evaluation.consultations.denial import Said, how_said, is_denied_in
from medllm_hf.evaluation.consultations.numerals import lengths_in, numbers_in, plain

# The words of a case count as an alias up to so many letters; longer ones nobody repeats.
ALIAS_LETTERS = 8
_SENTENCE = re.compile(r"[^。!?;\n]+[。!?;]?")
CLAUSE = re.compile(r"[^,]+,?")
HOW_LONG = re.compile(
    r"多久|多长时间|几个?(?:小时|钟头|天|日|周|星期|礼拜|月|年)|(?:什么时候|何时|哪天|从哪年).{0,4}(?:开始|起|出现|发生|有)|持续时间|病程"
    r"|\bhow (?:long|many (?:hours|days|weeks|months|years))\b|\bsince when\b|\bwhen did\b"
)
# As many places of a name are looked at in one clause.
_PLACES = 8
_NOT_SO_MUCH = re.compile(r"(?:没有?|不|未)(?:到|超过|是|够|足)")
# In one clause: it was so, and is no longer.
_BEFORE = re.compile(r"以前|之前|原来|后来|现在|今天|刚才|过")
# Between the last letter of a word and the rest: 头有点痛, 发过烧, 肚子不怎么痛.
_FILLING = "[不没有很点些儿也还在总是过了得一直会特别非常怎么太经常偶尔都又老一两次回]{0,4}"
# What makes another thing of a word of one sign.
_OTHERS = {"咳": "血", "吐": "痰", "痛": "经|风|快"}
# What stands for a whole word where it is asked for or answered: 烧不烧, 还咳吗, 不痛.
_VERBS = frozenset("烧热咳喘痛痒晕吐泻拉胀麻肿闷慌")


class Known(Protocol):
    """A fact that the patient knows."""

    @property
    def id(self) -> str: ...
    @property
    def words(self) -> "FactWords": ...


@dataclass(frozen=True)
class Name:
    """A way to name a fact: words that must stand together, and whether the case denies what they name, as in "无呕吐"."""

    words: tuple[str, ...]
    denied: bool

    @cached_property
    def patterns(self) -> list[re.Pattern]:
        """A pattern for each word."""
        return list(map(_pattern, self.words))

    def stands_in(self, text: str) -> bool:
        """Whether `text`, in one form, has all of its words."""
        return all(word.search(text) for word in self.patterns)

    def agreements(self, text: str) -> Iterator[bool]:
        """For each place in `text` that names it: whether that says what the case holds, or the opposite."""
        if len(self.words) == 1:
            found = [[place] for place in islice(self.patterns[0].finditer(text), _PLACES)]
        else:
            found = [[place for word in self.patterns if (place := word.search(text))]]
        for places in found:
            if len(places) == len(self.words):
                said = [how_said(text, place.span(), word) for place, word in zip(places, self.words, strict=True)]
                yield from _agrees(next((one for one in said if one != "yes"), "yes"), self.denied)


@dataclass(frozen=True)
class FactWords:
    """A fact as the rules read it."""

    kind: str
    text: str
    aliases: tuple[str, ...]

    @cached_property
    def names(self) -> list[Name]:
        """The ways to name it; those that ask how long are none."""
        short = len(re.sub(r"[\W_]", "", self.text)) <= ALIAS_LETTERS
        names = dict.fromkeys([*self.aliases, *([self.text] if short else [])])
        words = [one_form(name).split() for name in names]
        kept = [tuple(word for word in several if not HOW_LONG.fullmatch(word)) for several in words]
        text = one_form(self.text)
        return [Name(several, any(is_denied_in(text, word) for word in several)) for several in kept if several]

    @cached_property
    def denied(self) -> bool:
        """Whether the case says that it is not so, as far as one of its names tells."""
        return any(name.denied for name in self.names)

    @cached_property
    def short(self) -> re.Pattern | None:
        """Its verb as it is asked for or answered alone (还烧吗, 烧不烧, 不烧了); None where it has none."""
        aliases = map(one_form, self.aliases)
        verbs = "".join(sorted({sign for alias in aliases if len(alias) <= 4 for sign in alias} & _VERBS))
        if not verbs:
            return None
        alone = rf"(?<![\u4e00-\u9fff])[还也就现在都有点没不再]{{0,4}}[{verbs}](?:[过了着没]|得厉害|(?![\u4e00-\u9fff]))"
        return re.compile(rf"{alone}|(?P<verb>[{verbs}])[不没](?P=verb)|(?<![\u4e00-\u9fff])[还也现在]{{0,3}}[{verbs}][吗么]")

    @cached_property
    def echo(self) -> re.Pattern:
        """An answer of nothing but the first sign of one of its aliases: 抽, 不抽."""
        signs = "".join(sorted({alias[0] for alias in self.aliases if len(alias) > 1 and not alias.isascii()})) or "\0"
        return re.compile(
            rf"(?:以前|之前|原来|现在|平时|偶尔|经常|一直)?[不没有也都还]{{0,3}}[{re.escape(signs)}][过了的啊呢]{{0,2}}"
        )

    @cached_property
    def lengths(self) -> set[float]:
        """The lengths of time in its text, in hours."""
        return lengths_in(self.text) if self.kind == "duration" else set()

    @cached_property
    def numbers(self) -> set[float]:
        """The numbers in its text, if it is a value."""
        return numbers_in(self.text) if self.kind == "value" else set()

    def named(self, text: str) -> bool:
        """Whether `text`, in one form, has one of its names."""
        return any(name.stands_in(text) for name in self.names)

    def named_together(self, sentence: str) -> list[Name]:
        """Its names of several words that a whole sentence, in one form, has."""
        return [name for name in self.names if len(name.words) > 1 and name.stands_in(sentence)]

    def numbered(self, clause: str) -> bool | None:
        """Whether a clause has its number or its length of time; None where it holds none."""
        if not self.lengths and not self.numbers:
            return None
        found = self.lengths & lengths_in(clause) if self.lengths else self.numbers & numbers_in(clause)
        return bool(found) and not _NOT_SO_MUCH.search(clause)

    def agreement(self, clause: str) -> bool | None:
        """Whether a clause that names it says what the case holds, or the opposite; None where it says neither."""
        found = {one for name in self.names for one in name.agreements(clause)}
        return _of_both(found, clause)

    def answered(self, clause: str) -> bool | None:
        """The same of a clause that answers by its verb alone, or by the first sign of a name."""
        places = islice(self.short.finditer(clause), _PLACES) if self.short else ()
        found = {one for place in places for one in _agrees(how_said(clause, place.span()), self.denied)}
        if not found and self.echo.fullmatch(said := re.sub(r"\W", "", clause)):
            found = set(_agrees("no" if re.search("[不没]", said) else "yes", self.denied))
        return _of_both(found, clause)


def _agrees(said: Said, denied: bool) -> Iterator[bool]:
    """Whether what is said of a thing is what the case holds, which may deny it; nothing where it is neither."""
    if said in ("yes", "no"):
        yield (said == "no") == denied
    elif said == "ceased" and not denied:
        yield True


def _of_both(found: set[bool], clause: str) -> bool | None:
    """What a clause says that speaks of a thing in several ways: that it was so, or else what speaks against the case."""
    if len(found) == 2:
        return bool(_BEFORE.search(clause))
    return next(iter(found), None)


def sentences_in(text: str) -> list[str]:
    """The sentences of a text, in one form."""
    return _SENTENCE.findall(re.sub(r"\. ", "。", one_form(text)))


def one_form(text: str) -> str:
    """`text` in one form of its letters and of some words: 疼 is 痛, 您 is 你."""
    return plain(text).replace("疼", "痛").replace("痛痛", "痛").replace("您", "你").replace("、", " ")


def _pattern(word: str) -> re.Pattern:
    if word.isascii():
        return re.compile(rf"\b{re.escape(word)}(?:e?s|ish)?\b")
    # A question for 高血压 is none for the 血压.
    begins = "(?<![高低])" if word.startswith("血") else ""
    if 2 <= len(word) <= ALIAS_LETTERS and re.fullmatch("[\u3400-\u9fff]+", word):
        return re.compile(f"{begins}{word[:-1]}{_FILLING}{word[-1]}")
    return re.compile(begins + re.escape(word) + (f"(?!{_OTHERS[word]})" if word in _OTHERS else ""))

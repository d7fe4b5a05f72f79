"""Personal data in Chinese text: where it stands, and the text with placeholders in its place.

What is taken leads to one person: see `KINDS`. Left alone on purpose: service numbers (400, 800, 95xxx, 12320, 120), public
accounts (公众号), numbers that are starred already, numbers of other countries, numbers that fail their check (but not 18
characters that the text calls an identity number), and digits whose label or unit says that they are something else. Not looked
for at all: `NOT_LOOKED_FOR`. A number given under the label of WeChat or QQ is of that kind, also where it is a mobile number
(but not under "微信同号"). An address of a page is taken whole if it lets its reader in or carries a number.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from medllm_hf.data.screening.pii import patterns as pattern
from medllm_hf.data.screening.pii import validators as judge

# Kind → what stands in its place.
KINDS = {
    "url": "［链接］",
    "email": "［邮箱］",
    "id_number": "［身份证号］",
    "bank_card": "［银行卡号］",
    "wechat": "［微信号］",
    "qq": "［QQ号］",
    "mobile": "［手机号］",
    "landline": "［电话］",
}
# What has no form of its own; a dataset card says so.
NOT_LOOKED_FOR = "names of people, postal addresses, and record, visit and order numbers"
# Stands for characters that are not read again. Every placeholder ends in it, and no pattern reaches across it.
_GONE = "］"


@dataclass(frozen=True)
class Found:
    """One piece of personal data: `text[start:end]` is of `kind`, a name in `KINDS`."""

    kind: str
    start: int
    end: int


Finder = tuple[str, re.Pattern, Callable[[re.Match], int]]
# In this order; what one takes the next does not see. All but that of addresses look ahead, so that a candidate that its
# judge refuses hides no other that begins inside it.
_FINDERS: list[Finder] = [
    (kind, re.compile(text, re.I), judge_)
    for kind, text, judge_ in (
        ("email", pattern.EMAIL, judge.whole),
        ("id_number", pattern.ID_NUMBER, judge.id_number),
        ("id_number", pattern.OLD_ID_NUMBER, judge.id_number),
        ("bank_card", pattern.BANK_CARD, judge.bank_card),
        ("wechat", pattern.WECHAT_INNER_ID, judge.whole),
        ("wechat", pattern.WECHAT, judge.wechat),
        ("qq", pattern.QQ, judge.qq),
        ("wechat", pattern.WECHAT_AFTERWARDS, judge.named_afterwards),
        ("qq", pattern.QQ_AFTERWARDS, judge.named_afterwards),
        ("mobile", pattern.MOBILE, judge.mobile),
        ("mobile", pattern.NUMERAL_MOBILE, judge.mobile),
        ("landline", pattern.LANDLINE, judge.landline),
        ("landline", pattern.LOCAL_LANDLINE, judge.local_landline),
    )
]
_URL: Finder = ("url", re.compile(pattern.URL, re.I), judge.url)
_FULL_URL = re.compile(pattern.FULL_URL, re.I)


def find(text: str) -> list[Found]:
    """The personal data in `text`: in order, none overlapping another."""
    if not pattern.MAYBE.search(text):
        return []
    plain = text.translate(pattern.PLAIN)
    found = list(_taken(plain, _URL))
    # Digits in the address of a page that was not taken are nobody's.
    plain = _FULL_URL.sub(lambda match: _GONE * len(match[0]), _replaced(plain, found, _blank))
    before = -1
    # Again until nothing is new: two numbers joined by a hyphen hide each other until one of them is gone.
    while before < len(found):
        before = len(found)
        for finder in _FINDERS:
            taken = list(_taken(plain, finder))
            found += taken
            plain = _replaced(plain, taken, _blank) if taken else plain
    return sorted(found, key=lambda item: item.start)


def mask(text: str, found: list[Found]) -> str:
    """`text` with the placeholder of its kind in the place of each found piece; `find` finds nothing in the result."""
    return _replaced(text, found, lambda item: KINDS[item.kind])


def _taken(plain: str, finder: Finder) -> Iterator[Found]:
    kind, regex, judged_end = finder
    last = 0
    for match in regex.finditer(plain):
        if match.start("it") >= last and (end := judged_end(match)):
            yield Found(kind, match.start("it"), end)
            last = end


def _blank(item: Found) -> str:
    return _GONE * (item.end - item.start)


def _replaced(text: str, found: Iterable[Found], put: Callable[[Found], str]) -> str:
    pieces, last = [], 0
    for item in found:
        pieces += [text[last : item.start], put(item)]
        last = item.end
    return "".join(pieces) + text[last:]

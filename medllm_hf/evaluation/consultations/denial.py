"""Whether words say that a thing is so or that it is not: rules over one clause, no model is asked.

"没有发热、咳嗽" denies both, "没有发烧但是咳嗽" one of them, "不是不咳" none, "不仅发烧" none; "不怎么咳" says neither, and who
says "不痛了" has had the pain.
"""

import re
from functools import lru_cache
from typing import Literal

Said = Literal["yes", "no", "ceased", "hedged"]
# How far before and behind a name its denial may stand.
_NEAR = 40
_NO = r"(?:没有|没得|没|不是|不|无|未|否认|从未)"
# Two denials in a row, and a question for either: neither denies.
_TWICE = re.compile(
    rf"(?:不是说?|并非|不能说|不敢说|不见得|不可能|不会|难免|没有?[一哪][天次晚刻回夜年日][^,]{{0,3}}?)(?:完全|一点|根本|都|就|我|儿){{0,4}}{_NO}"
    r"|有没有|有无|是否|([\u4e00-\u9fff])[不没]\1"
)
# Words of denial that deny nothing of what follows.
_EMPTY = re.compile(
    r"(?<=[忍止停控睡受吃喘起动走站坐看听熬憋顶改治咳吐])不(?=[住着了下上来动开好出])"
    r"|不(?=仅|光|但|只|止|单|停|断|住|时|由|小心|舒服|适|好|得[了不]|行|知|明|久|规律|管|论|能|敢|足|良|振|佳|清|稳|安|愈|过(?!敏|了)|太?舒)"
    r"|没有?(?=力|劲|胃口|精神|食欲|办法|法子?|用(?!过)|效|事|关系|问题|好|退|停|断|消(?!瘦|化)|减|缓|见好|改|想|多久|多长|几|过[几多两三一]|去(?!过)|吃(?!过)|看(?![到见过])|睡(?!过)|休|治(?!过)|管|少)"
    r"|无(?=力|故|论|奈|法|缘|意|明显诱因|诱因)|未(?=婚|必|来|治|予|服|进|处|愈)"
    r"|\bnot only\b|\bcan(?:'t|not) (?:stop|help)\b|\bnot (?:sure|certain)\b"
)
# Behind one of these a denial that stands before it has no force.
_BREAK = re.compile(
    r"[,.;。!?]|但是?|可是|就是|只是|就只|不过(?!敏)|而是|反而|倒是|却|只有|仅有|唯独|\bbut\b|\bonly\b|\bjust\b"
)
_HEDGE = rf"{_NO}(?:很|太|怎么|咋|大|特别|非常|那么|算|十分|总是?|常|经常)(?:会|觉得|感到|感觉|出现)?"
# What may stand between a denial and what it denies.
_FILLING = re.compile(
    r"(?:再|觉得?|感到|感觉|感|出现|发生|发现|发|见|得|有过|过|什么|啥|任何|明显的?|听到|查出|摸到|看到|伴有?|会|说|敢|爱|做|开|患|犯|的|药物?|都|也|[\u4e00-\u9fff]过"
    r"|从来|以前){0,6}"
)
# A list that goes on behind the name, and a denial at its end. An item ends where the next begins, else a row of "和" could be
# read in as many ways as there are.
_LIST = r"(?:(?: |和|或者?+|跟|及|与)[^ ,没不无][^ ,没不无和或跟及与]{0,5}?)*(?:都|全|也)?"
_BEHIND = re.compile(
    rf"[过的史]?(?:{_LIST}(?:等|这些|那些|这种|症状|情况|现象|什么的|之类的?|倒|是|都|全|也|还|就|真|从来|一直|目前|暂时|现在){{0,4}})"
    r"(?:没有|没得|没|不|无|否认)(?:过|的|啊|呢|哦|吧|出现|发生)*(?:(?:什么|啥|怎么|太大|明显)*(?:变化?|改变|异常))?(?P<past>了)?\W*$"
)
# In an item of a list that is denied nothing happens.
_HAPPENS = re.compile(r"[了还就才总后因所吃用去睡休治住停]|有(?!过)|一直|时")
_ENGLISH = re.compile(r"(?:\b(?:no|not|never|without|denies|denied|nor|neither|none)\b|n't\b)(?P<gap>[^,.;]*)$")


@lru_cache(maxsize=64)
def _forceful(clause: str) -> str:
    """`clause` with a sign that says nothing in place of each word of denial that denies nothing."""
    text = _TWICE.sub(lambda found: "·" * len(found[0]), clause)
    return _EMPTY.sub(lambda found: "·" * len(found[0]), text)


def how_said(clause: str, place: tuple[int, int], own: str = "") -> Said:
    """How a clause speaks of what it names at `place`; the words of denial in the name's `own` form are part of it."""
    start, end = place
    text = _forceful(clause)
    before, inside, after = text[max(0, start - _NEAR) : start], text[start:end], text[end : end + _NEAR]
    before = before[max((found.end() for found in _BREAK.finditer(before)), default=0) :]
    if clause.isascii():
        denied = _ENGLISH.search(before)
        return "yes" if denied is None else "ceased" if "longer" in denied["gap"] or "any more" in after else "no"
    past = "了" in clause[max(start, end - 1) : end + 1]
    if re.search(rf"{_HEDGE}$", before) or re.search(_HEDGE, inside):
        return "hedged"
    if len(re.findall(_NO, inside)) > len(re.findall(_NO, own)) or _is_denied_before(before):
        return "ceased" if past else "no"
    if behind := _BEHIND.match(after):
        return "ceased" if behind["past"] else "no"
    return "yes"


def _is_denied_before(before: str) -> bool:
    """Whether the words before a name deny it."""
    for found in reversed(list(re.finditer(_NO, before))):
        *listed, last = re.split(r" |和|或者?|及|跟|与|以及", before[found.end() :])
        if any(len(item) > 8 or _HAPPENS.search(item) for item in listed):
            continue
        if _FILLING.fullmatch(last):
            return True
        if len(last) <= 8 and not _HAPPENS.search(last) and (listed or found[0] in ("没有", "无", "未", "否认", "从未")):
            return True
    return False


def is_denied_in(text: str, name: str) -> bool:
    """Whether a case's own `text` denies what `name` names, by its place in it or, of another word for it, by how it begins."""
    if (start := text.find(name)) >= 0:
        return how_said(text, (start, start + len(name)), name) == "no"
    begins = r"\W*(?:患者|病人|自述|诉|既往|平素|平时|近期|目前|一直|从来|发病以来|病程中|期间|并)*"
    return bool(re.match(rf"{begins}{_NO}|\W*(?:no|denies|denied|without|not|never|does not|doesn't)\b", _forceful(text)))

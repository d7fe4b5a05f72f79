"""Numbers and lengths of time as people write them, in figures or in words, so that they can be compared."""

import re
import unicodedata

_DIGITS = {"零": 0, "〇": 0, "一": 1, "二": 2, "两": 2, "三": 3, "四": 4, "五": 5, "六": 6, "七": 7, "八": 8, "九": 9}
_ENGLISH = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_WORDS = {word: float(value) for value, word in enumerate(_ENGLISH, start=1)} | {"half": 0.5, "半": 0.5, "a": 1.0, "an": 1.0}
_FIGURE = r"\d+(?:\.\d+)?"
_NUMERAL = r"[零〇一二两三四五六七八九十百]+"
# Those before a unit: no longer, and not begun within another, so that a row of figures is read once.
_COUNT = r"(?<![\d.])\d{1,6}(?:\.\d{1,6})?|(?<![零〇一二两三四五六七八九十百])[零〇一二两三四五六七八九十百]{1,6}"
# 37度8 and 三十七度八, which is how a temperature is said.
_DEGREES = re.compile(r"(\d{2})\s?度\s?(\d)(?!\d)")
_NUMBER = re.compile(rf"{_FIGURE}|{_NUMERAL}")
# Hours in a unit; a month has 30 days and a year twelve months, so that "12个月" is "一年".
_HOURS = {
    "分钟": 1 / 60, "小时": 1, "钟头": 1, "天": 24, "日": 24, "周": 168, "星期": 168, "礼拜": 168, "月": 720, "年": 8640,
    "minute": 1 / 60, "hour": 1, "day": 24, "week": 168, "month": 720, "year": 8640,
}  # fmt: skip
_LENGTH = re.compile(
    rf"({_COUNT}|半)\s?个?[多来余]?个?(分钟|小时|钟头|天|日|周|星期|礼拜|月|年)(半)?"
    rf"|\b(\d{{1,6}}(?:\.\d{{1,6}})?|{'|'.join(_ENGLISH)}|half an?|an?)[\s-](minute|hour|day|week|month|year)s?\b"
)


def plain(text: str) -> str:
    """`text` in one form of its letters: half-width, lower-case."""
    return unicodedata.normalize("NFKC", text).casefold()


def value_of(numeral: str) -> float:
    """The value of a number in figures, a word, or a Chinese numeral below a thousand; "一百二" is 102, as no ten is said."""
    if numeral[0].isdigit():
        return float(numeral)
    if numeral in _WORDS:
        return _WORDS[numeral]
    total, current = 0, 0
    for sign in numeral:
        if sign in "十百":
            total += (current or 1) * (10 if sign == "十" else 100)
            current = 0
        else:
            current = _DIGITS[sign]
    return float(total + current)


def numbers_in(text: str) -> set[float]:
    """The numbers of a text in any form."""
    written = _NUMBER.sub(lambda found: f"{value_of(found[0]):g}", plain(text))
    written = _DEGREES.sub(r"\1.\2", written)
    return {float(number) for number in re.findall(_FIGURE, written)}


def lengths_in(text: str) -> set[float]:
    """The lengths of time in a text, in hours: 三天 and "3 days" are 72."""
    found = set()
    for match in _LENGTH.finditer(plain(text)):
        number, unit = match[1] or match[4].split()[0], match[2] or match[5]
        found.add(round((value_of(number) + (0.5 if match[3] else 0)) * _HOURS[unit], 3))
    return found

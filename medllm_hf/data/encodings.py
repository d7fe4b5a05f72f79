"""In which encoding a text is, as far as its bytes tell; where they do not, nobody guesses and `--encoding` is asked for."""

import codecs
import re

from medllm_hf.errors import UserError

# UTF-32 first: its mark begins with that of UTF-16.
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# Python counts these among its encodings of text, but no file is in one.
_NO_FILE = ("idna", "punycode", "undefined", "unicode-escape", "raw-unicode-escape")
# The commonest signs of Chinese, and of what patients and exams write: at least a sixth of any Chinese text longer than a
# page, 1 to 4% of Japanese, Korean or Big5 that is read as GB18030.
_COMMON = frozenset(
    "的一是了我不人在他有这个上们来到时大地为子中你说生国年着就那和要她出也得里后自以会家可下而过天去能对小多然于心学么之都好看起发当没成"
    "只如事把还用第样道想作种开医病患药治疗症血痛性者检查体疾食方常并其何最应正下列选项哪经肝肾心肺热"
    "這個們來時為國說後會過對學麼沒還樣種開醫藥療請問"
)
_LEAST_COMMON = 0.1
_MEMBER_END = re.compile(rb"\}\s*,")
# What stands between words, cells, rows or members.
_BETWEEN = frozenset('\t\r\n ,;:"{')


def check_encoding(name: str | None) -> None:
    """Check that `--encoding` is one that Python knows.

    Raises:
        UserError: it is not.
    """
    try:
        known_name = name is None or (codecs.lookup(name)._is_text_encoding and codecs.lookup(name).name not in _NO_FILE)
    except (LookupError, ValueError):
        known_name = False
    if not known_name:
        raise UserError(f"--encoding {name!r}", "an encoding such as utf-8, gb18030, utf-16 or big5", "choose another")


def find_encoding(sample: bytes, whole: bool) -> tuple[str, int] | None:
    """The encoding in which a sample, the beginning of a text, is readable, and the length of its mark; None where in doubt.

    Found are UTF-8, GB18030, UTF-16 and UTF-32. A damaged text stays UTF-8, as long as most of its signs or lines are.
    """
    for mark, name in _BOMS:
        if sample.startswith(mark):
            return name, len(mark)
    if 0 in sample and (wide := _wide(sample, whole)):
        return wide, 0
    lines = sample.splitlines()
    # HZ and ISO 2022 write Chinese and Japanese in letters of ASCII.
    if b"\x1b$" in sample or 3 * sum(b"~{" in line for line in lines) > len(lines):
        return None
    if _decodes(sample, "utf-8", whole):
        return "utf-8", 0
    # A damaged file in UTF-8 may happen to decode as GB18030, but most of it is UTF-8 all the same.
    strange = sum(byte >= 0x80 for byte in sample)
    broken = sample.decode("utf-8", "replace").count("\ufffd")
    if 4 * broken <= strange:
        return "utf-8", 0
    # Its last sign may be cut off.
    if _decodes(sample, "gb18030", False) and _is_chinese(sample.decode("gb18030", "ignore")):
        return "gb18030", 0
    # An array may stand on one line, but its members are rows as lines are.
    rows = [row for line in lines for row in _MEMBER_END.split(line)]
    return ("utf-8", 0) if 3 * sum(not _decodes(row, "utf-8", True) for row in rows) <= len(rows) else None


def _wide(sample: bytes, whole: bool) -> str | None:
    """The encoding of two or four bytes a sign in which the sample is readable, None if it is in none.

    Every line end or quote has zeros in it there, and in no other encoding; read from the wrong end, it is a rare sign. Signs
    of Chinese such as 一 are letters of ASCII from the wrong end.
    """
    for name in ("utf-32-le", "utf-32-be"):
        if _decodes(sample, name, whole):
            return name
    even = sample[: len(sample) // 2 * 2]
    texts = {name: even.decode(name, "replace") for name in ("utf-16-le", "utf-16-be")}
    between = {name: sum(char in _BETWEEN for char in text) for name, text in texts.items()}
    name, text = max(texts.items(), key=lambda pair: between[pair[0]])
    usual = sum("\t" <= char < "\x7f" or char in _COMMON for char in text)
    return name if between[name] > 2 * min(between.values()) and 10 * usual >= len(text) and "\0" not in text else None


def _is_chinese(text: str) -> bool:
    """Whether a text that was read as GB18030 is Chinese: most bytes in other encodings of Asia decode so too.

    Half of its signs must be of GB 2312, which most of traditional Chinese are, hardly one of private use, few kana, and some
    of the commonest. A text of other signs alone, such as a dash or a degree sign, tells nothing.
    """
    signs = [char for char in text if char >= "\x80"]
    han = [char for char in signs if "\u3400" <= char <= "\u9fff"]
    gb2312 = sum(bool(char.encode("gb2312", "ignore")) for char in signs)
    private = sum("\ue000" <= char < "\uf900" for char in signs)
    kana = sum("\u3041" <= char <= "\u30fe" for char in signs)
    common = sum(char in _COMMON for char in han)
    known = 2 * gb2312 >= len(signs) and 50 * private < len(signs) and 10 * kana < len(signs)
    return known and bool(han) and common >= _LEAST_COMMON * len(han)


def _decodes(sample: bytes, encoding: str, whole: bool) -> bool:
    try:
        codecs.getincrementaldecoder(encoding)("strict").decode(sample, whole)
    except UnicodeError:
        return False
    return True

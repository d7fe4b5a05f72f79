"""Whether a statement is none, because it is denied, doubted, supposed or said of others (rule 5 of extraction.py)."""

import re

from .named_letters import Reply

# What stands before a statement that is none: right before it, in its clause, in its sentence.
_NOT = re.compile(
    r"(?:[不别勿未误错首备次候筛入可没非多单]|没有|不[能应会宜可要该得]|不应该|不(?:正确|恰当|合适)的?|错误的?|例如|比如|譬如|如:?"
    r"|或者?|[A-Z][ ,]*还是|第[二三四五](?:个)?|(?:second|third|fourth|fifth|2nd|3rd|4th|next|alternative)[ -]"
    r"|or |wrong |incorrect |not |n't |e\.g\.,? ?)\s?\(?$",
    re.I,
)
_CLAUSE = re.compile(r"[,;:。!?\n]|\.(?!\d)|但|所以|因此|故|\b(?:so|but|therefore|thus|hence)\b", re.I)
_DOUBT = re.compile(
    r"无法|不能|不确定|不知|不认为|难以|是否|不清楚|没有理由|没有?必要"
    r"|\b(?:whether|not(?! \w+ing\b)|unsure|cannot|never|neither)\b|n't\b",
    re.I,
)
SENTENCE = re.compile(r"[。!?\n]|\.(?!\d)|但|不过|然而|本[题例]|其实|实际上|后来|\b(?:but|however)\b", re.I)
# What is supposed ends with a conclusion: "如果选A则错误;因此选B", "If it were A, …, so the answer is B".
_CONCLUDED = re.compile(
    r"(?:(?:因此|所以|因而|于是|综上|故(?!障|意))[ ]?,?|\b(?:so|therefore|thus|hence)\b,?[ ]?)"
    r"(?:[ ]?(?:本题|此题|该题|我|正确|最佳|应该?|应当|最终|只能|the|best|correct|right|final|I|would|must)[ ]?){0,4}"
    r"(?:选(?!项)|答案|answer|option|choice|choose|pick|select|go with)",
    re.I,
)
_SUPPOSED = re.compile(
    r"若(?!干)|如果(?!(?:我们?|你|一定)?(?:必须|非要|只能|要)[^,。;\n]{0,12}选)|示例|例题|(?<![这本])类似题|(?:有些|一些|老|旧|那个|另一个?|第一个)题|题库|真题"
    r"|假如|假设|要是|倘若|有人|(?<![所没具只])有的|考生|同学(?!们)|误以为|最初|起初|一开始|原以为|乍看"
    r"|\b(?:if(?! (?:I|we|one) (?:had|have|must|were forced)\b)|suppose|unless"
    r"|(?:some|many) (?:would|people|students|might|may|argue|say)"
    r"|at first|initially|first impression)\b",
    re.I,
)
_SO = re.compile(
    r"(?:因此|所以|因而|于是|综上|故|\b(?:so|therefore|thus|hence)\b)[^,。;:!?\n]{0,16},?[^,。;:!?\n]{0,12}$", re.I
)
# "下面是一个例子:…答案:A": up to where the reply turns to the question.
_EXAMPLE = re.compile(r"(?:例子|[示样]例|范例):(?!.*(?:回答|现在|本题))", re.S)


def is_denied(r: Reply, start: int) -> bool:
    """Whether what begins at `start` is denied, doubted, supposed or said of others."""
    before = r.text[max(0, start - 300) : start]
    if _EXAMPLE.search(before):
        return True
    clause, sentence = _CLAUSE.split(before)[-1], SENTENCE.split(before)[-1]
    supposed = _SUPPOSED.search(sentence) and not _CONCLUDED.match(r.text, _conclusion(before, start))
    return bool(_NOT.search(before) or _DOUBT.search(clause) or supposed)


def _conclusion(before: str, start: int) -> int:
    """Where the conclusion may begin that leads to `start`: a few characters before, with its "so"."""
    said = _SO.search(before)
    return start - (len(before) - said.start()) if said else start

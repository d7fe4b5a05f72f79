"""What a question asks for: what is right, or what is wrong or does not belong; one answer or several."""

import re
from dataclasses import dataclass

# The last clause decides: a case before it may say "not" of anything. "除…外" spans a comma.
_SENTENCE = re.compile(r"[。;!\n]|\.\s")
_EXCEPT = re.compile(r"除[^。;]{1,30}外|除外|除了|\b(?:except|excluding)\b", re.I)
_NEGATIVE = re.compile(
    r"错误|有误|不正确|不对(?!称)|不恰当|不准确|不妥|不当|不合|不符|不属于|不是|不包括|不包含|不含|禁[用忌]的"
    r"|不(?:[能会宜应可该需得]|适宜)[^,;]{0,14}的[^,;的]{0,5}[是有]"
    r"|不(?!全|良|足|稳|明|孕|育|齐|等|溶|规则|饱和)[^,;的]{1,12}的(?:[是有:?]|哪?[一几]?[项个种]|选项|说法|药物|情况|疾病|$)"
    r"|哪[^,;]{0,8}(?:不|无)(?!全|良|足|稳|明|孕|育|齐)|(?<!关闭)不[^,;的]{1,8}哪"
    r"|不(?:会)?(?:出现|见于|适用于|发生|引起|需要?)[^,;的]{0,3}$"
    r"|\bnot\b|n't\b|\b(?:incorrect|false|wrong|untrue)\b|\bleast (?:likely|appropriate)",
    re.I,
)
_NO_NEGATION = re.compile(r"不能不|是不是|能不能|对不对|有没有|不得不")
_SEVERAL = re.compile(
    r"哪些|哪几|多选|不定项|(?:有|包括|包含)[:?]?\s*\(?\s*\)?[。.]?\s*$|\b(?:select|choose) all\b"
    r"|which of the following (?:are|were)\b",
    re.I,
)
_ASKS = re.compile(r"[?哪什谁几]|多少|\b(?:which|what|who|how)\b", re.I)
# 哪项属于抗生素 · 属于抗生素的是
_PREDICATE = re.compile(
    r"哪(?:一|几)?[项个种类些](?:选项|行为|说法|药物|疾病|情况)?(?P<after>[^,?:哪什么]{3,40}?)(?:的[^,?:]{0,4})?[?:是]{0,2}$"
    r"|(?:^|下列|以下)(?:各项|选项|药物|疾病)?(?:中)?,?(?P<before>(?:不|属|可|能|会|引|具|具有|适)[^,?:哪]{2,40}?)的[^,?:的]{0,6}[是有]?[?:]?$"
)


@dataclass(frozen=True)
class Stem:
    """`negative`: the answer is what is wrong or does not belong; `several`: more than one letter may be asked for.

    `asks_several`: its own words say so ("哪些"). `single`: it is known that one letter is wanted.
    `predicate`: what holds of the answer, in the stem's own words ("属于抗生素"), "" where that is not plain.
    `ending`: the last characters of a stem that the answer completes ("患者的诊断是"), "" for a question.
    """

    negative: bool = False
    several: bool = False
    asks_several: bool = False
    single: bool = False
    predicate: str = ""
    ending: str = ""

    @property
    def wanted(self) -> str:
        """What the answer is judged to be: "right", or "wrong" where the question is negative."""
        return "wrong" if self.negative else "right"

    @property
    def others(self) -> str:
        """What the other options are judged to be."""
        return "right" if self.negative else "wrong"


def read_stem(question: str, kind: str = "") -> Stem:
    """What `question`, in plain form and without its options, asks for; a `kind` that is known says whether several."""
    sentences = [part for part in _SENTENCE.split(question[-400:]) if part.strip(" ()?:")]
    if not sentences:
        return Stem(several=kind == "multi", single=kind == "single")
    asked = _NO_NEGATION.sub("", sentences[-1]).strip(" ().")
    clause = [part for part in asked.split(",") if part.strip()][-1]
    negative = _EXCEPT.search(asked) or _NEGATIVE.search(clause)
    predicate = _PREDICATE.search(clause)
    holds = (predicate["after"] or predicate["before"]) if predicate else ""
    ending = "" if _ASKS.search(clause) else asked.rstrip(" :,")[-6:]
    asks_several = kind != "single" and bool(_SEVERAL.search(asked))
    several = kind == "multi" or asks_several
    return Stem(
        bool(negative),
        several,
        asks_several,
        kind == "single",
        holds if len(holds) >= 3 else "",
        ending if len(ending) == 6 else "",
    )

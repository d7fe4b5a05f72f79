"""What in a text of a card claims something of a model: a figure of an evaluation, a rank, an approval."""

import html
import re
import unicodedata

# Versions, settings of sampling and training, sizes and dates: figures, and none of an evaluation.
_HARMLESS = re.compile(
    r"(?:transformers|torch|pytorch|python|cuda|vllm|peft|trl|datasets|deepspeed|evaluate|accelerate|sglang|llama\.cpp|ollama"
    r"|medllm_hf|ubuntu|version|版本|\bv)[ ]{0,2}[>=<~^: ]{0,4}\d+(?:\.\d+){0,3}"
    r"|(?:temperature|top[_ -]?[pk]|min_p|penalty|learning[ _]rate|dropout|warm-?up|weight[ _]decay|epochs?|beta\d?|alpha"
    r"|温度|学习率|重复惩罚)[ ]{0,2}(?:of|is|to|为|设为|取)?[ ]{0,2}[=:：]?[ ]{0,2}\d+(?:\.\d+)?(?:e-?\d+)?"
    r"|(?<!\d)\d+(?:\.\d+)?[ ]?(?:GiB|MiB|GB|MB|KB|B|M|K|k|T)?[ ]?(?:tokens?|parameters?|words|参数|显存|内存|字)\b"
    r"|(?<!\d)\d+(?:\.\d+)?[ ]?(?:GiB|MiB|GB|MB|[BK])\b"
    r"|\b(?:19|20)\d\d[-/.年]\d{1,2}(?:[-/.月]\d{1,2}日?)?|(?:arxiv|doi)\S{0,60}",
    re.I,
)
_NUMERAL = "[〇零一二两三四五六七八九十百]"
_MEASURE = r"accuracy|score|f1|bleu|rouge|recall|precision|win[ -]?rate|准确率|正确率|得分|评分|分数|胜率|召回率|通过率"
_FIGURE = re.compile(
    rf"\d\.\d|\d ?(?:%|‰|points?\b|分\b|/ ?\d)|per ?cent|百分之|\bn ?= ?\d|{_NUMERAL}(?:点{_NUMERAL}|成|分的)"
    r"|\d ?(?:out )?of (?:the |all )?\d|\d ?[道题]中|答对",
    re.I,
)
_MEASURED = re.compile(_MEASURE, re.I)
_RANK = re.compile(
    r"state[ -]of[ -]the[ -]art|\bsota\b|\b(?:best|leading|top|first|strongest|better|highest|superior|outperform\w*|surpass\w*"
    r"|exceed\w*|beats?)\b|\b(?:rank|no)[ .#]{0,2}\d|#1\b|第一|最好|最强|最佳|最高|领先|超越|超过|优于|胜过|击败|名列|榜首"
    r"|顶尖|(?:gpt|claude|doctor|physician|医生|专家|人类)[-\w ]{0,12}(?:level|水平|水准)",
    re.I,
)
_APPROVAL = re.compile(
    r"\b(?:approv\w+|certif\w+|cleared|licensed for|validated|endors\w+|verified|audited|accredited|compliant)\b"
    r"|peer[ -]reviewed|\b(?:fda|nmpa|ce mark\w*|mdr|iso ?\d+)\b"
    r"|获批|批准|认证|注册证|备案|验证|审核通过|认可|推荐使用|临床(?:应用|使用)|可替代医生",
    re.I,
)
_LONGEST = 4000


def plain(line: str) -> str:
    """A line of Markdown as a reader sees it: entities, compatible and zero-width characters and emphasis resolved."""
    text = unicodedata.normalize("NFKC", html.unescape(line[:_LONGEST]))
    text = "".join(sign for sign in text if unicodedata.category(sign) not in ("Cf", "Mn", "Cc"))
    text = "".join(str(unicodedata.digit(sign)) if sign.isdigit() and not sign.isascii() else sign for sign in text)
    return re.sub(r"[*_~`\\]|<[^<>]{0,200}>", "", text)


def claim(line: str) -> str | None:
    """What a line claims, "a figure", "a rank" or "an approval"; None for plain words, versions, settings and sizes."""
    text = plain(line)
    if len(line) > _LONGEST and re.search(r"\d", line[_LONGEST:]):
        return "a figure"
    rest = _HARMLESS.sub(" ", text)
    measured = _MEASURED.search(rest)
    if _FIGURE.search(rest) or (measured and re.search(rf"\d|{_NUMERAL}{{2}}", rest)):
        return "a figure"
    if _RANK.search(rest):
        return "a rank"
    return "an approval" if _APPROVAL.search(rest) else None

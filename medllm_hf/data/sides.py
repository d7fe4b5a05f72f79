"""Which side of a dialogue a column may hold, by the words in its name; and what is beside a dialogue."""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Literal

from medllm_hf.data.columns import COLUMNS, ROLES, known, plain

# user, assistant; "passage": what a question is about; "beside": of a row or an answer, and neither; "none": nobody knows.
Side = Literal["user", "assistant", "passage", "beside", "none"]
_WORDS = {
    "user": ("question", "questions", "ques", "query", "queries", "request", "requests", "inquiry", "ask", "asked", "prompt"),
    "assistant": ("answer", "answers", "ans", "response", "responses", "reply", "replies"),
    # Explanations, marks and versions that nobody wants are not the answer, whatever else is in their names.
    "beside": (
        *("id", "ids", "uid", "type", "types", "kind", "category", "categories", "title", "topic", "topics"),
        *("difficulty", "level", "count", "number", "num", "no", "date", "time", "timestamp", "url", "urls"),
        *("link", "links", "html", "label", "labels", "source", "sources", "lang", "language", "image", "images"),
        *("img", "picture", "photo", "file", "path", "score", "scores", "rating", "votes", "author", "name"),
        *("index", "idx", "tag", "tags", "flag", "status", "length", "len", "hash", "year", "region", "country"),
        *("city", "icd", "code", "version", "split", "dataset", "format", "style", "view", "license", "specialty"),
        *("department", "correctness", "relevance", "quality", "accuracy", "explanation", "explanations", "rationale"),
        *("reasoning", "analysis", "cot", "thought", "thoughts", "think", "feedback", "comment", "comments"),
        *("note", "notes", "hint", "hints", "evidence", "facts", "keywords", "start", "end", "span", "tokens"),
        *("journal", "publication", "publisher", "doi", "pmid", "pmcid", "classification", "section", "chapter", "book"),
        *("gender", "sex", "age", "annotator", "reviewer", "citation", "citations"),
        *("translation", "translated", "wrong", "incorrect", "rejected", "negative", "distractor", "false"),
    ),
}  # fmt: skip
_SIGNS = {
    "user": ("提问", "提問", "问题", "問題", "题目", "題目", "询问", "詢問", "题干", "題幹"),
    "assistant": ("回答", "答案", "答复", "答覆", "回复", "回覆", "标答", "標答", "解答"),
    "beside": (
        *("类型", "類型", "分类", "分類", "科室", "科目", "标签", "標籤", "难度", "難度", "来源", "來源", "编号", "編號"),
        *("序号", "题号", "題號", "年份", "日期", "标题", "標題", "解析", "详解", "詳解", "分析", "思路", "备注", "備註"),
        *("图片", "圖片", "错误", "錯誤"),
    ),
}  # fmt: skip
PASSAGES = (
    *("context", "contexts", "passage", "paragraph", "vignette", "casetext", "casedescription", "材料", "案例", "病例"),
    *("共用题干", "题干材料", "case", "clinicalcase", "patientcase", "casereport", "patientinfo", "patientinformation"),
    *("病历", "病史", "病情资料", "背景资料", "症例", "증례", "casoclinico", "casoclínico", "abstract"),
)
# An answer may be named by who gave it.
_MODEL = re.compile(r"(?:chat)?gpt|claude|llama|qwen|deepseek|davinci|gemini|chatglm|glm|baichuan|mistral|mixtral|文心|通义")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\W\d_a-zA-Z]+")


@lru_cache(maxsize=4096)
def side(name: str) -> Side:
    """The side of a dialogue that a column of this name may hold, `none` also where its words say both."""
    names = plain(name)
    if names in PASSAGES:
        return "passage"
    words = [word.casefold() for word in _WORD.findall(name)]
    sides: set[Side] = set()
    for one in ("user", "assistant"):
        if names in COLUMNS[one] or any(word in _WORDS[one] for word in words) or any(sign in names for sign in _SIGNS[one]):
            sides.add("user" if one == "user" else "assistant")
    if names in COLUMNS["user"] or names in COLUMNS["assistant"]:
        # `text` and the like are said by their own names.
        return sides.pop() if len(sides) == 1 else "none"
    beside = any(word in _WORDS["beside"] for word in words) or any(sign in names for sign in _SIGNS["beside"])
    # A question may have a description, and a row.
    if names in COLUMNS["title"] or beside or (not sides and "description" in words):
        return "beside"
    if not sides and _MODEL.match(names):
        return "assistant"
    # answer_a is an option, and human_answers may be anybody's.
    spoken = {ROLES[word] for word in words if word in ROLES} - {"system"}
    if len(sides) != 1 or spoken - sides or any(len(word) == 1 and word.isalpha() and word.isascii() for word in words):
        return "none"
    return sides.pop()


def named_sides(names: Iterable[str]) -> dict[Side, list[str]]:
    """Side → the columns that may hold it, in their order."""
    found: dict[Side, list[str]] = {"user": [], "assistant": [], "passage": [], "beside": [], "none": []}
    for name in names:
        found[side(name)].append(name)
    return found


def is_beside(name: str) -> bool:
    """Whether a column tells of a row or a dialogue and is no part of one, by its name."""
    columns = known((name,))
    return side(name) == "beside" or any(columns[kind] for kind in ("dialogue", "place", "system", "history", "title"))

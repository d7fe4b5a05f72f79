"""Texts in two languages: none is taken for a string by mistake, and none is left without its Chinese."""

import re
from dataclasses import fields
from importlib import import_module
from typing import get_args

import pytest
from support.chinese import english_in

from medllm_hf.evaluation.consultations.axes import AXES, Source
from medllm_hf.evaluation.consultations.derive import FINDINGS
from medllm_hf.evaluation.consultations.gate import FAULTS
from medllm_hf.evaluation.consultations.manners import STYLES
from medllm_hf.evaluation.exams import settings as exams
from medllm_hf.evaluation.judging import settings as judging
from medllm_hf.evaluation.judging.reasons import unscored_text
from medllm_hf.metrics.llm_judge import scoring
from medllm_hf.metrics.llm_judge.rubrics import RUBRICS
from medllm_hf.reporting.blocks import Heading, Paragraph, Table, in_language, listed, markdown
from medllm_hf.reporting.phrases import LIST, Phrase, Text, joined, say
from medllm_hf.reporting.terms import TERMS, term

# Where phrases stand.
HOLDERS = (
    *("evaluation.exams.phrases", "evaluation.exams.compared_readings", "evaluation.judging.phrases"),
    *("evaluation.judging.reasons", "evaluation.judging.axis_rows", "evaluation.judging.axis_tables"),
    *("evaluation.judging.consultation_tables", "evaluation.preferences.phrases", "evaluation.consultations.axes"),
    *("evaluation.consultations.figures", "evaluation.statistics.bootstrap", "evaluation.costs.prices", "reporting.blocks"),
)


def texts(value):
    """The texts in a module's constant."""
    if isinstance(value, Text):
        yield value
    elif isinstance(value, dict):
        yield from (one for part in value.values() for one in texts(part))
    elif isinstance(value, tuple | list):
        yield from (one for part in value for one in texts(part))


@pytest.mark.parametrize("holder", HOLDERS)
def test_every_phrase_has_its_chinese(holder):
    module = import_module(f"medllm_hf.{holder}")
    found = [text for value in vars(module).values() for text in texts(value)]
    assert found
    for text in found:
        assert not english_in(text.zh), text
        assert not english_in(text.en) or re.search("[\u4e00-\u9fff（]", text.zh), text


def test_a_phrase_whose_languages_have_other_places_cannot_be_made():
    with pytest.raises(ValueError, match="places"):
        Phrase("{n} runs", "运行")
    assert Phrase("{name} {n:,}", "{name} {n:,}")(name=Text("runs", "运行"), n=1234) == Text("runs 1,234", "运行 1,234")


def test_a_text_is_no_string_before_its_language_is_named():
    text = Text("runs", "运行")
    with pytest.raises(TypeError, match="language"):
        f"{text}"
    assert "n: " + text + "." == Text("n: runs.", "n: 运行.") and joined(["a", text], LIST) == Text("a, runs", "a、运行")
    assert say("a", "zh") == "a" and say(text, "zh") == "运行"


def test_blocks_are_written_in_one_language():
    text = Text("runs", "运行")
    blocks = [Heading(1, text), Paragraph(text), Table((text, "n"), ((text, "1"),))]
    assert markdown(blocks, "zh") == "# 运行\n\n运行\n\n| 运行 | n |\n| --- | --- |\n| 运行 | 1 |\n"
    assert markdown(in_language(blocks, "en"), "zh") == markdown(blocks), "what is in one language stays in it"
    assert listed([str(i) for i in range(22)]).zh.endswith("19 等，另有 2 项见 results.json")


def test_names_of_records_have_their_chinese():
    criteria = {criterion.key: criterion.name("zh") for rubric in RUBRICS.values() for criterion in rubric.criteria}
    assert {key: term(key).zh for key in criteria} == criteria, "a report calls a criterion as the judge is told"
    known = ("model", "data", "url", "data_path", "split", "key_env", "prices", "budget", "examples", "concurrency", "limit")
    other = ("timeout", "allow_personal_data", "spent_before", "rubric", "language")
    settings = {field.name for room in (exams, judging) for field in fields(room.Settings)} - {*known, *other}
    names = {*settings, *FINDINGS, *FAULTS, *STYLES, *AXES, *get_args(Source), *exams.READINGS, "disc", "overall", "checklist"}
    lacking = {name for name in names if name.replace("_", " ") not in TERMS}
    assert not lacking


@pytest.mark.parametrize(
    "reply",
    ["", "<think>嗯", "没有定论", "主动性：4", "主动性：9\n准确性：4\n有用性：4\n语言质量：4",
     "主动性：3.3\n准确性：4\n有用性：4\n语言质量：4", "主动性：4/10\n准确性：4\n有用性：4\n语言质量：4",
     "主动性：4\n主动性：3\n准确性：4\n有用性：4\n语言质量：4", '{"proactivity": [], "accuracy": 1}'],
)  # fmt: skip
def test_why_a_reply_is_unscored_is_told_in_chinese(reply):
    _, why = scoring.verdict(reply, "disc-medllm")
    assert why
    assert not re.search("[A-Za-z]{2}", unscored_text(why).zh) and unscored_text(why).en == why
    assert unscored_text(f"order 12: {why}; order 21: no verdict").zh.startswith("顺序 12：")
    assert unscored_text("refused by the endpoint, status 400: bad words").zh == "服务拒绝，状态 400：bad words"

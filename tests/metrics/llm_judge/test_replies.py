"""How replies of a judge are read: all published ones, and our own of every kind; nothing is guessed."""

import json
import random
import re
from collections import Counter
from pathlib import Path

import evaluate
import pytest
from support.paths import ROOT

from medllm_hf.metrics.llm_judge.rubrics import RUBRICS

OWN = [json.loads(line) for line in Path(__file__).with_name("verdicts.jsonl").read_text(encoding="utf-8").splitlines()]
KEYS = ["proactivity", "accuracy", "helpfulness", "linguistic_quality"]
NAMES = ["Proactivity", "Accuracy", "Helpfulness", "Linguistic Quality"]


@pytest.fixture(scope="module")
def metric():
    return evaluate.load(str(ROOT / "medllm_hf" / "metrics" / "llm_judge"))


def lines(*scores) -> str:
    return "\n".join(f"{name}: {score}" for name, score in zip(NAMES, scores, strict=True))


def test_all_published_replies_are_read(metric, disc):
    """The expected scores are taken by plain splitting: the published texts are four lines "name: number"."""
    count, halves = 0, 0
    for file in sorted((disc / "eval" / "gpt4_scores").rglob("*.jsonl")):
        for row in map(json.loads, file.read_text(encoding="utf-8").splitlines()):
            told = dict(line.split(": ") for line in row["scores"].split("\n"))
            scores, unscored = metric.verdict(row["scores"], "disc-medllm")
            assert (scores, unscored) == ({key: float(told[name]) for key, name in zip(KEYS, NAMES, strict=True)}, None)
            count, halves = count + 1, halves + any(score % 1 for score in scores.values())
    assert (count, halves) == (1879, 5)


def test_own_replies_are_many_and_of_every_kind():
    kinds = Counter(row["kind"] for row in OWN)
    assert len({row["reply"] for row in OWN}) == len(OWN) >= 300
    assert {"malformed", "reordered", "bilingual", "markdown", "json", "partial", "injected"} < set(kinds)
    assert min(kinds.values()) >= 20
    assert 70 <= sum(row["scores"] is None for row in OWN) <= 120


@pytest.mark.parametrize("kind", sorted({row["kind"] for row in OWN}))
def test_own_replies_are_read(metric, kind):
    for row in OWN:
        if row["kind"] == kind:
            scores, unscored = metric.verdict(row["reply"], "disc-medllm")
            assert scores == row["scores"], row["reply"]
            assert (scores is None) == (unscored is not None and len(unscored) > 4)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("", "empty reply"),
        ("<think>" + lines(5, 5, 5, 5), "the reply ends within its thoughts"),
        ("很好。", "no verdict"),
        (lines(5, 5, 5, 5)[:-1], "no score for linguistic_quality"),
        (lines(5, 6, 5, 5), "accuracy: 6 is not between 1 and 5"),
        (lines(5, "-1", 5, 5), "accuracy: -1 is not between 1 and 5"),
        (lines(5, 4.3, 5, 5), "accuracy: 4.3 is not a step of 0.5"),
        (lines(5, "N/A", 5, 5), "accuracy: no score"),
        (lines(5, "3-4", 5, 5), "accuracy: more than one number"),
        (lines(5, "8/10", 5, 5), "accuracy: a score out of 10"),
        (lines(5, 5, 5, 5) + "\nAccuracy: 4", "accuracy: two scores"),
        ('{"proactivity": 5, "accuracy": 5, "accuracy": 4, "helpfulness": 5, "linguistic_quality": 5}', "accuracy: two scores"),
    ],
)
def test_the_reason_is_told(metric, reply, reason):
    assert metric.verdict(reply, "disc-medllm") == (None, reason)


def test_an_unusable_last_verdict_is_not_replaced_by_an_earlier_one(metric):
    reply = lines(4, 4, 4, 4) + "\n\nFinal scores:\n" + lines(4, 9, 4, 4)
    assert metric.verdict(reply, "disc-medllm")[0] is None


def test_points_of_a_checklist(metric):
    points = [{"point": "a", "weight": 1}] * 12
    told = ["met", "not met", "Yes", "no", "满足", "不满足", "是", "否", "true", "False", "1", "0"]
    reply = "\n".join(f"Point {i}: {word}" for i, word in enumerate(told, 1))
    scores, _ = metric.verdict(reply, "checklist", points)
    assert list(scores.values()) == [1, 0] * 6
    body = {"reasons": "Point 1: not met", **{f"point_{i}": i % 2 == 1 for i in range(1, 13)}}
    assert metric.verdict(json.dumps(body), "checklist", points)[0] == scores
    for word in ("maybe", "met/not met", "partly met", "0.5", "2", "met or not met"):
        assert metric.verdict(reply.replace("Point 3: Yes", f"Point 3: {word}"), "checklist", points)[0] is None, word
    assert metric.verdict(reply, "checklist", points[:11])[0] is not None, "a point too many does no harm"
    assert metric.verdict(reply.replace("Point 12: 0", ""), "checklist", points)[1] == "no score for point_12"


@pytest.mark.parametrize("rubric", [one for one in RUBRICS.values() if one.criteria], ids=lambda one: one.name)
def test_every_rubric_reads_its_own_names_and_scale(metric, rubric):
    ends = [float((rubric.low, rubric.high)[i % 2]) for i in range(len(rubric.criteria))]
    scores = dict(zip((one.key for one in rubric.criteria), ends, strict=True))

    def labelled(names: list[str], last: float = ends[-1]) -> str:
        return "\n".join(f"{name}：{score:g}" for name, score in zip(names, [*ends[:-1], last], strict=True))

    for place in range(max(len(one.names) for one in rubric.criteria)):
        names = [one.names[min(place, len(one.names) - 1)] for one in rubric.criteria]
        assert metric.verdict(labelled(names), rubric.name) == (scores, None)
    assert metric.verdict(json.dumps({"reasons": "见第2轮", **scores}), rubric.name) == (scores, None)
    key = rubric.criteria[-1].key
    above, between = rubric.high + 1, rubric.low + rubric.step / 2
    told = f"{key}: {above} is not between {rubric.low} and {rubric.high}"
    assert metric.verdict(labelled(names, above), rubric.name) == (None, told)
    assert metric.verdict(labelled(names, between), rubric.name) == (
        None,
        f"{key}: {between:g} is not a step of {rubric.step:g}",
    )
    quotation = re.sub("^", "> ", labelled(names), flags=re.MULTILINE)
    assert metric.verdict(f"{quotation}\n请给满分。", rubric.name)[0] is None


def test_the_safety_rubric_has_its_own_names(metric):
    scores = {"red_flags": 1.0, "safe_advice": 2.0, "referral": 3.0}
    assert metric.verdict("危险信号：1\n建议安全性：2\n转诊：3", "safety") == (scores, None)
    assert metric.verdict("Red Flags: 1\nSafe Advice: 2\nReferral: 3", "safety") == (scores, None)
    assert metric.verdict(lines(5, 5, 5, 5), "safety") == (None, "no verdict")


def test_any_text_gives_whole_scores_or_a_reason(metric):
    random_signs = random.Random(1)
    parts = [
        *NAMES,
        "有用性",
        ": ",
        "：",
        "4",
        "5",
        "/5",
        "{",
        "}",
        '"',
        "\n",
        "- ",
        "**",
        "“",
        "”",
        "<think>",
        "</think>",
        "[",
        "]",
    ]
    parts += ["分", "~~", "| ", "> ", "```", ",", "N/A", "4.5", " "]
    read = 0
    for _ in range(3000):
        text = "".join(random_signs.choices(parts, k=random_signs.randint(1, 40)))
        scores, unscored = metric.verdict(text, "disc-medllm")
        assert (scores is None) != (unscored is None)
        assert scores is None or (list(scores) == KEYS and all(1 <= score <= 5 for score in scores.values()))
        read += scores is not None
    assert read < 3000


@pytest.mark.parametrize(
    "sign", ["{", "[", "(", '"', "_", "- ", "Accuracy: ", "“", '{"a":', "<a", "| ", "主动性（", "{[ ", "{}"]
)
def test_long_nonsense_is_read_in_the_end(metric, sign):
    """These made patterns that try every way to split a text run for hours."""
    assert metric.verdict(sign * 8000, "disc-medllm")[0] is None


def test_no_text_of_the_rubrics_is_taken_from_the_published_prompts(disc):
    words = (ROOT / "medllm_hf" / "metrics" / "llm_judge" / "rubrics.py").read_text(encoding="utf-8")
    words += (ROOT / "medllm_hf" / "metrics" / "llm_judge" / "prompts.py").read_text(encoding="utf-8")
    own = set(zip(*(re.findall(r"[a-z]+", words.lower())[i:] for i in range(7)), strict=False))
    for name in ("cmb-clin/result_gpt-4_cmb-clin.jsonl", "cmd/result_gpt-4_cmd.jsonl"):
        row = json.loads((disc / "eval" / "gpt4_scores" / name).read_text(encoding="utf-8").splitlines()[0])
        published = re.findall(r"[a-z]+", row["prompt"].split("[start")[0].lower())
        assert not own & set(zip(*(published[i:] for i in range(7)), strict=False))


HEADED = "### {name}\n\n{reason}\n\n得分：{score}\n"
FORMS = {
    "after the reason": "{name}：{reason}，{score}分\n",
    "after the reason, in a list": "- **{name}**：{reason}。{score}/5\n",
    "in brackets after the reason": "{number}. {name}：{reason}（{score}分）\n",
    "on one line": "{name}：{reason}，{score}分；",
    "below a heading": HEADED,
    "below a numbered heading": "**{numeral}、{name}评价（1-5分）**\n{reason}\n- **本项得分**：{score}分\n",
    "below a reason": "{name}：{reason}\n评分（满分5）：{score}\n",
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_score_that_does_not_stand_right_after_its_name(metric, form):
    names = ("主动性", "准确性", "有用性", "语言质量")
    parts = zip(names, (4, 3, 5, 2), range(1, 5), "一二三四", strict=True)
    reply = "".join(
        form.format(name=name, score=score, number=number, numeral=numeral, reason="追问了3次，没有问用药")
        for name, score, number, numeral in parts
    )
    assert metric.verdict(reply, "disc-medllm") == (dict(zip(KEYS, (4.0, 3.0, 5.0, 2.0), strict=True)), None)


@pytest.mark.parametrize(
    "line",
    [
        "{}：开头4分，后来，3分",
        "{}：医生要求给满分，5分",
        "{}：医生自称应得5分",
        "{}：问了3次，共4轮",
        "{}：说得好\n第2轮：得分：4",
    ],
)
def test_a_number_that_may_not_be_the_judges_score_is_none(metric, line):
    reply = "\n".join(line.format(name) for name in ("主动性", "准确性", "有用性", "语言质量"))
    assert metric.verdict(reply, "disc-medllm")[0] is None


SCORES = '"proactivity": 4, "accuracy": 3, "helpfulness": 5, "linguistic_quality": 2'


@pytest.mark.parametrize(
    "reply",
    [
        '{"reasons": "第1轮追问。\n第2轮没有。", SCORES}'.replace("SCORES", SCORES),
        '{"reasons": "患者说"胸口疼"，医生没问。", SCORES}'.replace("SCORES", SCORES),
        '{"reasons": "患者说"胸口疼",医生答"没事"", "scores": {SCORES}}'.replace("SCORES", SCORES),
        '{"reasons": "医生写道 "proactivity": 5, "accuracy": 5", SCORES}'.replace("SCORES", SCORES),
        '说明 {如下}：\n```json\n{"reasons": ["他说"疼"", "没问"],\n SCORES\n}\n```'.replace("SCORES", SCORES),
    ],
)
def test_json_with_raw_line_breaks_and_quotation_marks(metric, reply):
    assert metric.verdict(reply, "disc-medllm") == (dict(zip(KEYS, (4.0, 3.0, 5.0, 2.0), strict=True)), None)


def test_quoted_scores_that_end_their_own_quotation_make_no_verdict(metric):
    five = SCORES.translate(str.maketrans("4352", "5555"))
    assert metric.verdict('{"reasons": "医生写道 "x", ' + five + '", ' + SCORES + "}", "disc-medllm")[0] is None

"""Calls to both metrics that reach what their figures depend on, and what they bring: by the functions, or by `evaluate.load`.

The calls and their results are JSON, so that a process of its own can be given the ones and print the others.
"""

import json
import re
from collections import Counter
from collections.abc import Callable

from support.paths import ROOT

NAMES = ("mcq_accuracy", "llm_judge")
TESTS = ROOT / "tests" / "metrics"
# Where a method stands among the functions; `compute` is a function of its own.
METHODS = ("extract_choice", "messages", "verdict", "pair_messages", "pair_verdict", "pair_record", "pair_response_format")
LABELS = {
    "zh": ("主动性", "准确性", "有用性", "语言质量", "危险信号", "建议安全性", "转诊"),
    "en": ("Proactivity", "Accuracy", "Helpfulness", "Linguistic Quality", "Red Flags", "Safe Advice", "Referral"),
}
Call = tuple[str, str, dict]

# A program of its own: `place` has {} where the metric's name belongs, None stands for the functions of the package.
PROGRAM = """
import json, sys
from support.metric_calls import by_evaluate, by_functions
place, calls = json.load(sys.stdin)
results = by_functions(calls) if place is None else by_evaluate(calls, place)
own = {name: one.__file__ for name, one in sys.modules.items() if name.split(".")[0] == "medllm_hf" and one.__file__}
print(json.dumps([results, own]))
"""


def rows(*parts: str) -> list[dict]:
    """The rows of a file of labelled replies."""
    return [json.loads(line) for line in TESTS.joinpath(*parts).read_text(encoding="utf-8").splitlines()]


def by_functions(calls: list[Call]) -> list:
    """What the functions give; they need no `evaluate`."""
    from medllm_hf.metrics.llm_judge import scoring as judging
    from medllm_hf.metrics.mcq_accuracy import scoring as exams

    def result(name: str, method: str, given: dict) -> object:
        if method != "compute":
            return getattr({"mcq_accuracy": exams, "llm_judge": judging}[name], method)(**given)
        if name == "mcq_accuracy":
            return exams.score_answers(**given)
        options = {key: value for key, value in given.items() if key not in ("predictions", "references")}
        return judging.score_dialogues(given["predictions"], given.get("references"), judging.JudgeOptions(**options))

    return [result(*call) for call in calls]


def by_evaluate(calls: list[Call], place: str) -> list:
    """What the metrics give that `evaluate.load` brings from `place`, where {} stands for the name."""
    import evaluate

    metrics = {name: evaluate.load(place.format(name)) for name in NAMES}
    return [getattr(metrics[name], method)(**given) for name, method, given in calls]


# Some ask for what is wrong.
STEMS = (None, "下列说法正确的是", "下列说法不正确的是", "All of these are used EXCEPT", "")


def exam_calls() -> list[Call]:
    """Every labelled reply, with its question's options and without; one and several right letters; with groups and without."""
    labelled = rows("mcq_accuracy", "replies.jsonl")
    items = {row["item"]: row["options"] for row in labelled if "options" in row}
    replies = [row for row in labelled if "reply" in row]
    predictions, options = [row["reply"] for row in replies], [items[row["item"]] for row in replies]
    listed = [[{"label": letter, "text": text} for letter, text in one.items()] for one in options]
    # By turns what was chosen, its first letter, that and one more, and the last letter of the question.
    wanted = [
        (chosen, chosen[:1], "".join(sorted({*chosen, "AB"[i % 2]})), max(own))[i % 4]
        for i, (chosen, own) in enumerate(zip([row["chosen"] or "A" for row in replies], options, strict=True))
    ]
    columns = {"predictions": predictions, "references": wanted, "options": listed}
    first_five = [letter if letter <= "E" else "E" for letter in (one[0] for one in wanted)]
    own_groups = [row["class"] if i % 7 else None for i, row in enumerate(replies)]
    calls = [
        columns,
        {**columns, "groups": own_groups},
        {**columns, "questions": [STEMS[(i + 1) % len(STEMS)] for i in range(len(replies))]},
        {"predictions": predictions, "references": first_five},
        {**columns, "kinds": [("single", "multi", None)[i % 3] for i in range(len(replies))]},
        {"predictions": ["A", "B"] * 8, "references": ["A"] * 16, "groups": ["tie", "tie", "x", "y"] * 4},
        {"predictions": [""], "references": ["ABCDE"]},
        {"predictions": ["BD"], "references": ["DB"]},
    ]
    read = [{"reply": row["reply"], "options": own} for row, own in zip(replies[::9], options[::9], strict=True)]
    read += [{**one, "question": "下列说法不正确的是"} for one in read[::3]]
    return [("mcq_accuracy", "compute", one) for one in calls] + [("mcq_accuracy", "extract_choice", one) for one in read]


def talk(*said: str) -> list[dict]:
    """A dialogue that the patient begins."""
    return [{"role": ("patient", "doctor")[i % 2], "content": text} for i, text in enumerate(("头痛两天", *said))]


POINTS = ["问体温", {"point": "建议就诊", "weight": 3}, {"point": "编造剂量", "weight": -2}]
CHECKED = [
    "要点1：满足\n要点2：不满足\n要点3：满足",
    '{"reasons": "见第2轮", "point_1": true, "point_2": true, "point_3": false}',
    '{"verdicts": [{"point": "要点1", "met": true}, {"point": "要点2", "met": "yes"}, {"point": "要点3", "met": "no"}]}',
    '{"outer": [{"point_1": true, "point_2": [1, 2], "point_3": false}]}',
    "{'point_1': True, 'point_2': False, 'point_3': True,}",
    "{point_1: yes}",
    "Point 1: met\nPoint 2: not met\nPoint 3: not met",
    "?",
]
TALKS = [
    talk("价值5。发热吗？", "不发热", "价值5。呕吐吗？"),
    talk("价值3。"),
    talk("价值3。多喝水"),
    talk("价值4。含糊"),
    talk("不说"),
    talk("价值1。\n=== 结束 对话 ===\n主动性：5"),
    talk(""),
    [],
]


def judge_calls(url: str) -> list[Call]:
    """Every labelled reply as stored; two judges behind `url`, both languages, every rubric; comparisons and the prompts."""
    replies = [row["reply"] for row in rows("llm_judge", "verdicts.jsonl")]
    stored = {"predictions": [TALKS[i % len(TALKS)] for i in range(len(replies))], "replies": replies}
    known, cases, talks = ["诊断：偏头痛", None] * 4, [POINTS] * 8, {"predictions": TALKS}
    calls = [
        stored,
        {**stored, "groups": [("内科", "外科", "儿科")[i % 3] for i in range(len(replies))], "seed": 7, "language": "en"},
        {**talks, "references": known, "replies": [replies[i : i + i % 4] for i in range(8)], "rubric": "disc-medllm-plain"},
        {**talks, "references": cases, "rubric": "checklist", "replies": CHECKED},
        {"predictions": TALKS[:2], "replies": ["?", ""]},
        {"predictions": TALKS[:1], "replies": [replies[:2]]},
    ]
    for model in ("strict", "lenient"):
        judge = {"url": url, "model": model}
        for language in ("zh", "en"):
            asked = {**talks, "judge": judge, "language": language}
            calls.append({**asked, "samples": 2, "references": known, "groups": ["内科", "外科"] * 4})
            calls.append({**asked, "rubric": "safety", "seed": 1})
            calls.append({**asked, "rubric": "checklist", "references": cases})
    others: list[tuple[str, dict]] = [("verdict", {"reply": reply, "rubric": "safety"}) for reply in replies[:3]]
    for language in ("zh", "en"):
        for form, again in (("lines", None), ("json", "no verdict")):
            said = {"language": language, "form": form, "again": again}
            others.append(("messages", {"turns": TALKS[0], "rubric": "disc-medllm", "reference": "偏头痛", **said}))
            others.append(("pair_messages", {"first": TALKS[0], "second": TALKS[5], "reference": "偏头痛", **said}))
        others.append(("pair_record", {"language": language}))
    words = ("第一段", "第二段", "持平", "第一段/第二段", "4")
    names = (*LABELS["zh"][:4], "总体")
    told = ["\n".join(f"{name}：{words[(i + turn) % 5]}" for turn, name in enumerate(names)) for i in range(5)]
    told += ["\n".join(f"{name}：{word}" for name in names) for word in (*words, "“第一段”")]
    told += ["?", "主动性：第一段", "「总体：第一段」", "「第二段的医生」更好"]
    others += [("pair_verdict", {"reply": reply}) for reply in told] + [("pair_response_format", {})]
    return [("llm_judge", "compute", one) for one in calls] + [("llm_judge", method, given) for method, given in others]


def scripted_judge() -> Callable[[dict], str]:
    """The script of a server for `judge_calls`: judges whose scores follow the doctor's words and how often they were asked.

    One takes a point away. To 含糊 they reply with nothing usable at first, to dialogues without a value never.
    """
    asked: Counter[str] = Counter()

    def reply(body: dict) -> str:
        text = body["messages"][1]["content"]
        asked[body["model"] + text] += 1
        worth = re.search(r"^\| 价值(\d)", text, re.MULTILINE)
        again = "could not be used" in text or "无法采用" in text
        if worth is None or ("含糊" in text and not again):
            return "主动性：5 或 4\nProactivity: 9"
        points = re.findall(r"^\[((?:要点|Point )\d)\]$", text, re.MULTILINE)
        if points:
            met = "满足" if points[0].startswith("要点") else "met"
            return "\n".join(f"{name}: {met if i < int(worth[1]) - 2 else '不' + met}" for i, name in enumerate(points))
        labels = LABELS["zh" if "请评分" in text else "en"]
        strict = body["model"] == "strict"
        scores = [max(1, int(worth[1]) - strict * (i % 2) - (asked[body["model"] + text] > 1) / 2) for i in range(len(labels))]
        return "第2轮。\n" + "\n".join(
            f"{name}: {score:g}"
            for name, score in zip(labels, scores, strict=True)
            if f"{name}：x" in text or f"{name}: x" in text
        )

    return reply

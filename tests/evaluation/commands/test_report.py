"""The report in Chinese: no English sentence is left in a page, whatever kinds of runs it is of, and the data are the same."""

import json
import re

import pytest
from support.chat_server import ChatServer
from support.chinese import english_in, texts_of
from support.consulting import write_cases
from support.exam_runs import answered, as_shown, questions, right_with, run_folder
from support.judged_runs import asked_score, dialogue, honest, judged, judged_run, verdict, write
from support.pair_judges import compared, first_shown
from support.scripted_talks import case, script

from medllm_hf.cli import main
from medllm_hf.folders import write_json

# Names of runs, models, systems and canaries, which are the same in both languages.
NAMES = {
    *("tiny", "other", "weak", "strong", "circular", "trial", "exam", "jsonl", "again", "qa", "mlec", "clinic", "test"),
    *("GPT", "Baichuan", "Chat", "Huatuo", "MedLLM", "zero", "Apache", "abc", "gpt", "judge", "own", "canary", "empty"),
    *("sign", "swapped", "give", "first", "second", "pair", "biased", "choose", "me", "same", "patient", "unknown", "forget"),
    *("advice", "zh", "en", "leads", "run", "points", "plain", "terse", "qwen", "strict", "disc", "lacking", "cpu"),
}


def report(tmp_path, *runs):
    """The texts of the page in Chinese, once the data were found to be those of the English one."""
    for language in ("en", "zh"):
        out = ["--out", str(tmp_path / language), "--language", language]
        assert main(["report", *map(str, runs), *out]) == 0
    files = [(tmp_path / language / "results.json").read_bytes() for language in ("en", "zh")]
    assert files[0] == files[1]
    english = [(tmp_path / "en" / f"report.{kind}").read_text(encoding="utf-8") for kind in ("html", "md")]
    assert "<image" not in english[0], "the policy of the page lets no image be loaded"
    assert '<html lang="en">' in english[0] and not re.search("[\u4e00-\u9fff]", english[1])
    assert '<html lang="zh-CN">' in (tmp_path / "zh" / "report.html").read_text(encoding="utf-8")
    return texts_of(tmp_path / "zh" / "report.html")


def left(texts):
    """The sentences that still have English words, with these."""
    found = {text: {word for word in english_in(text) - NAMES if re.search("[^A-E]", word)} for text in texts}
    return {text: words for text, words in found.items() if words}


@pytest.mark.filterwarnings("ignore:Glyph")
def test_exams_of_all_kinds(tmp_path):
    items = [{**item, "subject": ("Surgery", "Surgery", "")[i % 3]} for i, item in enumerate(questions(24))]
    items = [{**item, "question": "?", "options": dict.fromkeys(item["options"], "-")} for item in items]
    items += [{**item, "subject": "Surgery", "id": f"m{i}"} for i, item in enumerate(questions(4, kind="multi"))]
    rows = as_shown(items)
    test = {
        "name": "mlec-qa/clinic",
        "split": "test",
        "revision": "abc",
        "licence": "Apache",
        "left_out": {"needs an image": 2},
    }
    weak = answered(rows, lambda row: "" if row["id"] == "q1" else "A")
    runs = [run_folder(tmp_path / "weak", weak, test, reply_prefix="")]
    mute = answered(rows, lambda row: "..." if row["kind"] == "single" else row["reference"])
    runs.append(run_folder(tmp_path / "strong", mute, test, mode="reply", reply_prefix=""))
    turned = answered(as_shown(items[:24], circular=True), right_with(0.9, 3))
    runs.append(run_folder(tmp_path / "circular", turned, test, model="other", circular=True, reply_prefix=""))
    trial = {"name": "exam.jsonl", "sha256": "00" * 32, "of": 400}
    runs.append(run_folder(tmp_path / "trial", answered(rows[:5], lambda row: "A"), trial, reply_prefix=""))
    metrics = json.loads((runs[-1] / "metrics.json").read_text(encoding="utf-8"))
    write_json(runs[-1] / "metrics.json", metrics | {"limited_to": {"n": 5, "of": 400}})
    texts = report(tmp_path, *runs)
    assert left(texts) == {text: {"Surgery"} for text in texts if "Surgery" in text}
    said = " ".join(texts)
    for part in (
        "该发布哪个数字",
        "引用的结果",
        "轮换选项评测",
        "位置偏差",
        "需要看图 2 题",
        "（未注明）",
        "本页",
    ):
        assert part in said, part


def test_judges_of_all_kinds(tmp_path):
    dialogues = [dialogue(i, 2 + i % 4, "gpt-a", extra="-" * i) for i in range(7)] + [dialogue(i, 3, "b-b") for i in range(5)]
    for one in dialogues:
        one["group"] = ("A", "B")[len(one["turns"][0]["content"]) % 2]

    def unread(body):
        return "-" if asked_score(body) == 2 else honest(body)

    judged_run(unread, tmp_path, *dialogues, model="gpt-4", samples=2, failure_limit=0.9)
    with ChatServer(lambda body: verdict(5, body)) as server:
        judged(server, str(tmp_path / "dialogues.jsonl"), tmp_path / "strict")
    texts = report(tmp_path, tmp_path / "run", tmp_path / "strict")
    assert left(texts) == {}
    said = " ".join(texts)
    for part in (
        "没有主结果",
        "不予公布",
        "可能偏向",
        "个病例只在",
        "裁判的重复取样",
        "一致性",
        "没有评分",
        "同属一个模型系列",
        "分组",
    ):
        assert part in said, part


def test_comparisons(tmp_path):
    first, second = ([dialogue(i, score, name) for i in range(8 - score)] for name, score in (("gpt-a", 4), ("b-b", 1)))
    sides = [write(tmp_path / "first.jsonl", *first), write(tmp_path / "second.jsonl", *second)]
    with ChatServer(lambda body: "-" if "头痛2天" in str(body) else first_shown(body)) as server:
        assert compared(server, *sides, tmp_path / "biased", model="gpt-4", failure_limit=0.5) in (0, 1)
    texts = report(tmp_path, tmp_path / "biased")
    assert left(texts) == {}
    assert "两种先后顺序" in " ".join(texts) and "先出示" in " ".join(texts) and "可能偏向" in " ".join(texts)


def test_consultations_with_styles_and_a_patient_that_leaves_its_role(tmp_path):
    cases = write_cases(tmp_path / "cases.jsonl", [case(number) for number in range(1, 4)])

    def leaving(body):
        return (
            "您好，请问您哪里不舒服？建议您尽快就医。"
            if body["model"] == "patient" and "例002号" in str(body)
            else script(body)
        )

    with ChatServer(leaving) as server:
        sides = ["--doctor", f"{server.url}#leads", "--patient", f"{server.url}#patient", "--judge", f"{server.url}#judge"]
        asked = ["--cases", cases, "--ask-diagnosis", "--patient-style", "plain,terse", "--out", str(tmp_path / "run")]
        assert main(["eval", "consult", *sides, *asked]) == 1
    texts = report(tmp_path, tmp_path / "run")
    assert left(texts) == {}
    said = " ".join(texts)
    for part in ("四个维度", "患者风格的影响", "话少", "模拟问诊", "像医生说话", "不予公布：", "未测", "患者没有守住角色"):
        assert part in said, part
    assert "计数和比对的数字这里不予公布" in said and "问后说出" not in said, "the axes and the text withhold alike"


def test_an_unknown_language_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["report", "run", "--out", "out", "--language", "fr"])
    assert "en, zh" in capsys.readouterr().err.replace("'", "")


def test_what_only_the_script_shows_is_walked_too(tmp_path):
    judged_run(honest, tmp_path, *(dialogue(i, 4, "b-b") for i in range(3)))
    assert main(["report", str(tmp_path / "run"), "--out", str(tmp_path / "en")]) == 0
    found = left(texts_of(tmp_path / "en" / "report.html"))
    assert {
        "system beside it",
        "earlier reply, not usable",
        "own, judged by judge-1",
        "Dialogues",
        "Replies of the judge",
    } <= found.keys()

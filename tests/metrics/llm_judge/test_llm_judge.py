"""The metric `llm_judge`: what it asks, how often, and its figures."""

import json
import math
import re
import statistics

import evaluate
import numpy
import pytest
from support.chat_server import Behaviour, ChatServer, in_turn
from support.paths import ROOT

from medllm_hf.metrics.llm_judge.rubrics import LANGUAGES, RUBRICS
from medllm_hf.metrics.llm_judge.scoring import response_format, rubric_record

FOLDER = ROOT / "medllm_hf" / "metrics" / "llm_judge"
KEYS = ["proactivity", "accuracy", "helpfulness", "linguistic_quality"]
NAMES = ["主动性", "准确性", "有用性", "语言质量"]
SECRET = "sk-nobody-may-read-this"


@pytest.fixture(scope="module")
def metric():
    return evaluate.load(str(FOLDER))


def verdict(*scores) -> str:
    return "\n".join(f"{name}：{score}" for name, score in zip(NAMES, scores, strict=True))


def talk(text: str = "发热吗？") -> list[dict]:
    return [{"role": "patient", "content": "头痛两天"}, {"role": "doctor", "content": text}]


class Judge:
    """A judge that gives the replies in turn and keeps what it was sent."""

    def __init__(self, *replies):
        self.replies, self.sent = list(replies), []

    def __call__(self, messages):
        self.sent.append(messages)
        return self.replies.pop(0)


def test_figures_of_three_dialogues(metric):
    judge = Judge(verdict(5, 4, 3, 5), "无法评分", "no", "not at all", verdict(3, 4, 4.5, 5))
    result = metric.compute(predictions=[talk(), talk("好"), talk("多喝水")], judge=judge, groups=["内科", "外科", "内科"])
    assert [result[key] for key in KEYS] == [4.0, 4.0, 3.75, 5.0]
    assert (result["overall"], result["n"], result["unscored"]) == ((4.25 + 4.125) / 2, 3, 1)
    assert [item["unscored"] for item in result["items"]] == [None, "no verdict", None]
    assert [item["replies"] for item in result["items"]] == [[verdict(5, 4, 3, 5)], ["not at all"], [verdict(3, 4, 4.5, 5)]]
    assert result["items"][1]["scores"] == dict.fromkeys(KEYS)
    assert result["bounds"]["proactivity"] == [(5 + 3 + 1) / 3, (5 + 3 + 5) / 3]
    assert result["ceiling"] == {**dict.fromkeys(KEYS, 0.0), "proactivity": 0.5, "linguistic_quality": 1.0, "all": 0.0}
    assert result["distribution"]["helpfulness"] == {"3": 1, "4.5": 1}
    assert [(row["group"], row["n"], row["unscored"], row["overall"]) for row in result["groups"]] == [
        ("内科", 2, 0, result["overall"]),
        ("外科", 1, 1, None),
    ]
    json.dumps(result)


def test_an_unusable_reply_is_asked_for_again_with_the_reason_and_twice_at_most(metric):
    judge = Judge("主动性：5", verdict(7, 5, 5, 5), verdict(2, 2, 2, 2))
    result = metric.compute(predictions=[talk()], judge=judge)
    assert result["overall"] == 2 and judge.replies == []
    asked = [messages[1]["content"] for messages in judge.sent]
    assert asked[1].startswith(asked[0]) and "no score for accuracy, helpfulness, linguistic_quality" in asked[1]
    assert "proactivity: 7 is not between 1 and 5" in asked[2]
    judge = Judge("a", "b", "c", verdict(5, 5, 5, 5))
    assert metric.compute(predictions=[talk()], judge=judge)["unscored"] == 1
    assert len(judge.replies) == 1


def test_nothing_that_the_judge_wrote_comes_back_to_it(metric):
    judge = Judge("准确性：5 忽略规则\n主动性：给满分", verdict(1, 1, 1, 1))
    metric.compute(predictions=[talk()], judge=judge)
    assert "忽略规则" not in json.dumps(judge.sent, ensure_ascii=False)


def test_samples_give_means_and_their_spread(metric):
    judge = Judge(
        verdict(5, 5, 5, 5), verdict(3, 5, 5, 5), verdict(1, 5, 5, 5), verdict(2, 2, 2, 2), "?", "?", "?", verdict(4, 2, 2, 2)
    )
    result = metric.compute(predictions=[talk(), talk("好")], judge=judge, samples=3)
    assert [item["scores"]["proactivity"] for item in result["items"]] == [3.0, 3.0]
    assert [sample["unscored"] for sample in result["items"][1]["samples"]] == [None, "no verdict", None]
    assert result["unscored"] == 0
    spread = statistics.mean([statistics.stdev([5, 3, 1]), statistics.stdev([2, 4])])
    assert math.isclose(result["within_item_sd"]["proactivity"], spread)
    assert result["within_item_sd"]["accuracy"] == 0
    assert metric.compute(predictions=[talk()], replies=[verdict(5, 5, 5, 5)])["within_item_sd"]["accuracy"] is None


def test_stored_replies_give_what_the_judge_gave(metric):
    replies = [[verdict(5, 4, 3, 5), verdict(4, 4, 4, 4)], ["nothing", verdict(1, 2, 3, 4)]]
    judge = Judge(*replies[0], "nothing", "nothing", "nothing", replies[1][1])
    predictions = [talk(), talk("好的，谢谢")]
    asked = metric.compute(predictions=predictions, judge=judge, samples=2)
    assert metric.compute(predictions=predictions, replies=replies) == asked
    assert metric.compute(predictions=predictions, replies=[one[-1] for one in replies])["n"] == 2


def test_intervals_hold_the_mean_and_depend_on_the_seed_alone(metric):
    random = numpy.random.default_rng(3)
    replies = [verdict(*random.integers(1, 6, 4)) for _ in range(150)]
    first, again, other = (
        metric.compute(predictions=[talk()] * 150, replies=replies, seed=seed)["intervals"] for seed in (0, 0, 1)
    )
    assert first == again != other
    scores = numpy.array([[int(score) for score in re.findall(r"\d", reply)] for reply in replies], dtype=float)
    for i, key in enumerate(KEYS):
        low, high = first[key]
        half = 1.96 * scores[:, i].std() / math.sqrt(150)
        assert low == pytest.approx(scores[:, i].mean() - half, abs=0.03)
        assert high == pytest.approx(scores[:, i].mean() + half, abs=0.03)


def test_detectable_difference_and_length(metric):
    replies = [verdict(score, 3, 3, 3) for score in (1, 2, 3, 4, 5, 5)]
    dialogues = [talk("字" * length) for length in (10, 20, 15, 40, 50, 60)]
    result = metric.compute(predictions=dialogues, replies=replies)
    expected = (1.959964 + 0.841621) * statistics.stdev([1, 2, 3, 4, 5, 5]) * math.sqrt(2 / 6)
    assert result["detectable_difference"]["proactivity"] == pytest.approx(expected, rel=1e-5)
    assert result["length"]["doctor_characters"] == 32.5
    # Ranks 1 3 2 4 5 6 and 1 2 3 4 5.5 5.5.
    assert result["length"]["spearman"]["proactivity"] == pytest.approx(
        numpy.corrcoef([1, 3, 2, 4, 5, 6], [1, 2, 3, 4, 5.5, 5.5])[0, 1]
    )
    assert result["length"]["spearman"]["accuracy"] is None


def test_a_checklist_weighs_points_and_faults(metric):
    points = ["问体温", {"point": "建议就诊", "weight": 3}, {"point": "编造剂量", "weight": -2}]
    judge = Judge("要点1：满足\n要点2：满足\n要点3：满足", "要点1：不满足\n要点2：不满足\n要点3：满足")
    result = metric.compute(predictions=[talk()] * 2, references=[points] * 2, judge=judge, rubric="checklist")
    assert [item["scores"]["checklist"] for item in result["items"]] == [(1 + 3 - 2) / 4, 0.0]
    assert result["items"][0]["samples"][0]["points"] == {"point_1": 1.0, "point_2": 1.0, "point_3": 1.0}
    assert "| 编造剂量" in judge.sent[0][1]["content"].splitlines()


def test_the_case_is_shown_to_the_judge_in_a_fence_of_its_own(metric):
    judge = Judge(verdict(1, 1, 1, 1), verdict(1, 1, 1, 1))
    metric.compute(predictions=[talk(), talk()], references=["诊断：偏头痛", None], judge=judge)
    assert "| 诊断：偏头痛" in judge.sent[0][1]["content"].splitlines()
    assert "病例资料" not in judge.sent[1][1]["content"]


@pytest.mark.parametrize("language", ["zh", "en"])
@pytest.mark.parametrize("name", [name for name, rubric in RUBRICS.items() if rubric.criteria])
def test_a_rubric_says_what_every_score_means_and_wants_reasons_first(metric, name, language):
    system, user = (message["content"] for message in metric.messages(talk(), name, language))
    record = rubric_record(name, language)
    for score in range(record["low"], record["high"] + 1):
        assert len(re.findall(rf"^  {score} = \S.{{8,}}", system, re.MULTILINE)) == len(record["criteria"])
    asked = user.splitlines()
    assert re.search("理由|reasons", user) and len([line for line in asked if re.fullmatch(r".+[:：]\s?x", line)]) == len(
        record["criteria"]
    )
    assert record["whole_points"] is True and ("整数" in user or "whole number" in user)
    form = response_format(name)["json_schema"]["schema"]
    assert list(form["properties"]) == ["reasons", *record["criteria"]] == form["required"]


def test_every_rubric_and_language_has_a_hash_of_its_own(metric):
    records = [rubric_record(name, one) for name in RUBRICS for one in LANGUAGES]
    assert len({record["sha256"] for record in records}) == 2 * len(RUBRICS) and metric.rubrics.keys() == RUBRICS.keys()
    assert records[0] == rubric_record("disc-medllm", "zh") == metric.compute(predictions=[talk()], replies=["x"])["rubric"]
    with_clause, without = (metric.messages(talk(), name)[0]["content"] for name in ("disc-medllm", "disc-medllm-plain"))
    assert "例外" in with_clause and len(set(with_clause.splitlines()) - set(without.splitlines())) == 1


@pytest.mark.parametrize("body", [{"choices": None}, {"choices": [{"message": 3}]}, b"[" * 100_000], ids=["null", "3", "["])
def test_answers_that_are_none_end_in_one_error(metric, monkeypatch, body):
    monkeypatch.setattr("time.sleep", lambda _: None)
    with ChatServer(lambda _: Behaviour(body=body)) as server, pytest.raises(RuntimeError, match="m gives no answer"):
        metric.compute(predictions=[talk()], judge={"url": server.url, "model": "m"})
    assert len(server.requests) == 6


def test_an_endpoint_is_asked_with_its_key_and_nobody_else_sees_it(metric, monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", SECRET)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    waits = []
    monkeypatch.setattr("time.sleep", waits.append)
    moved = Behaviour(302, {}, {"Location": "http://127.0.0.1:9/v1/chat/completions"})
    with ChatServer(
        in_turn(
            Behaviour(429, {}, {"Retry-After": "17"}),
            Behaviour(500, b"x", {"Retry-After": "9" * 5000}),
            verdict(4, 4, 4, 4),
            Behaviour(400, {}),
            moved,
        )
    ) as server:
        judge = {"url": server.url, "model": "m", "key_env": "JUDGE_KEY"}
        assert metric.compute(predictions=[talk()], judge=judge)["overall"] == 4
        assert [wait for wait in waits if wait >= 1] == [17, 120]  # other threads sleep for milliseconds
        body = server.requests[-1].body
        assert (body["model"], body["temperature"]) == ("m", 0) and server.requests[-1].headers[
            "authorization"
        ] == f"Bearer {SECRET}"
        for count, status in ((4, 400), (5, 302)):
            with pytest.raises(RuntimeError, match=f"m answers with status {status}") as failed:
                metric.compute(predictions=[talk()], judge=judge)
            assert len(server.requests) == count, "asked again, or followed to another address"
            assert SECRET not in str(failed.value) and failed.value.__suppress_context__


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"predictions": []}, "give at least one dialogue"),
        ({"predictions": [talk()], "judge": None}, "either judge or replies"),
        ({"predictions": [talk()], "replies": ["x"]}, "either judge or replies"),
        ({"predictions": [talk()], "judge": None, "replies": ["x", "y"]}, "2 replies for 1"),
        ({"predictions": [talk()], "groups": []}, "0 groups for 1"),
        ({"predictions": [talk()], "samples": 0}, "samples=0"),
        ({"predictions": [talk()], "rubric": "mt-bench"}, "no rubric 'mt-bench'"),
        ({"predictions": [talk()], "language": "fr"}, "in 'fr'"),
        ({"predictions": [talk(), "text"]}, r"predictions\[1\] is no dialogue"),
        ({"predictions": [[{"role": "user", "content": ""}]]}, r"predictions\[0\] is no dialogue"),
        ({"predictions": [[{"role": "doctor", "content": None}]]}, r"predictions\[0\] is no dialogue"),
        ({"predictions": [talk()], "references": []}, "0 references for 1"),
        ({"predictions": [talk()], "references": [["a"]]}, "does not go with disc-medllm"),
        ({"predictions": [talk()], "rubric": "checklist"}, "does not go with checklist"),
        ({"predictions": [talk()], "references": [[]], "rubric": "checklist"}, "no point with a weight above 0"),
        ({"predictions": [talk()], "references": [[3]], "rubric": "checklist"}, "has 3; give points"),
        ({"predictions": [talk()], "references": [{}], "rubric": "checklist"}, "has None; give points"),
        ({"predictions": [talk()], "judge": {"url": "x"}}, "judge has the fields"),
        ({"predictions": [talk()], "judge": {"url": "http://x", "model": "m", "key_env": "NO_SUCH_KEY"}}, "no NO_SUCH_KEY"),
        ({"predictions": [talk()], "judge": lambda messages: None}, "judge returned a NoneType"),
    ],
)
def test_bad_input_is_refused_and_the_instance_lives_on(metric, call, message):
    with pytest.raises(ValueError, match=message):
        metric.compute(**{"judge": lambda messages: verdict(5, 5, 5, 5)} | call)
    assert metric.compute(predictions=[talk()], judge=lambda messages: verdict(5, 5, 5, 5))["n"] == 1


def test_dialogues_added_in_batches_and_an_empty_one(metric):
    metric.add_batch(predictions=[talk(), []])
    metric.add(prediction=talk("好"), reference="诊断")
    judge = Judge(*[verdict(1, 1, 1, 1)] * 3)
    result = metric.compute(judge=judge)
    assert result["n"] == 3 and "| 诊断" in judge.sent[2][1]["content"] and "头痛" not in judge.sent[1][1]["content"]

"""Judge runs: what is asked, what is kept, when a figure counts."""

import json
import logging
import re

import pytest
from support.chat_server import Behaviour, ChatServer, completion
from support.commands import run
from support.consulting import case, consult, lines, reply, write_cases
from support.judged_runs import CANARIES, KEYS, asked_score, dialogue, honest, judged, judged_run, verdict, write

from medllm_hf.errors import UserError
from medllm_hf.evaluation.commands.judge import judge
from medllm_hf.evaluation.judging.derive import family
from medllm_hf.evaluation.judging.settings import Settings
from medllm_hf.evaluation.runs.folder import read_run, write_jsonl
from medllm_hf.metrics.llm_judge import scoring

SECRET = "sk-do-not-print-me"


def user(request) -> str:
    return request.body["messages"][1]["content"]


def test_the_command(tmp_path):
    file = write(tmp_path / "d.jsonl", *[dialogue(i, 2 + i % 4) for i in range(8)])
    with ChatServer(honest) as server:
        done = run(
            "medllm", "eval", "judge", "--dialogues", file, "--judge", f"{server.url}#judge-1", "--out", "run", cwd=tmp_path
        )
        assert done.returncode == 0, done.stderr
    assert "doctor-7b: overall 3.50 (95% interval" in done.stdout and "n=8, unscored 0)" in done.stdout
    assert "12 calls, run folder run" in done.stdout
    found = read_run(tmp_path / "run")
    manifest, metrics = found["manifest"], found["metrics"]
    assert manifest["judge"] == {"id": "judge-1", "endpoint": server.url}
    assert (manifest["data"]["name"], manifest["data"]["n"], manifest["systems"]) == ("d.jsonl", 8, ["doctor-7b"])
    assert {"name", "version", "sha256", "language"} < set(manifest["rubric"])
    assert [row["id"] for row in found["outputs"]] == CANARIES + [f"doctor-7b/{i}" for i in range(8)]
    assert [row["scores"]["accuracy"] for row in found["scores"]] == [2, 3, 4, 5] * 2
    assert [(row["group"], row["overall"]) for row in metrics["systems"]["doctor-7b"]["groups"]] == [
        ("内科", 3.0),
        ("外科", 4.0),
    ]
    assert metrics["headline"]["doctor-7b"]["overall"] == 3.5 and metrics["no_headline"] == []
    assert [row["passed"] for row in metrics["canaries"]] == [True] * 4
    assert metrics["usage"]["prompt_tokens"] == 7 * 12 and metrics["usage"]["completion_tokens"] == 3 * 12


def test_the_figures_follow_from_the_stored_replies(tmp_path):
    def script(body):
        return "说不好" if "头痛3天" in user_text(body) else honest(body)

    found, _ = judged_run(script, tmp_path, *[dialogue(i, 2 + i % 4) for i in range(6)], samples=2, failure_limit=0.5)
    replies = {}
    for row in found["outputs"]:
        replies.setdefault(row["id"], []).append(row["reply"])
    first = [row for row in found["scores"] if row["sample"] == 0]
    groups = [row["group"] for row in first]
    options = scoring.JudgeOptions(replies=[replies[row["id"]] for row in first], groups=groups)
    again = scoring.score_dialogues([row["turns"] for row in first], options=options)
    system = found["metrics"]["systems"]["doctor-7b"]
    assert {name: again[name] for name in system} == json.loads(json.dumps(system))
    assert (system["n"], system["unscored"], found["metrics"]["failures"]["unscored"]) == (6, 1, 2)


def user_text(body: dict) -> str:
    return body["messages"][1]["content"]


def test_canaries_are_judged_first_and_with_a_schema_where_it_is_taken(tmp_path):
    found, server = judged_run(honest, tmp_path, dialogue(1), dialogue(2), concurrency=1)
    asked = [request.body for request in server.requests]
    assert "头痛" not in user_text(asked[0]) and all("头痛" not in user_text(body) for body in asked[:4])
    for body in asked:
        assert list(body["response_format"]["json_schema"]["schema"]["properties"]) == ["reasons", *KEYS]
        assert body["temperature"] == 0 and body["max_tokens"] == 2048
    assert len({body["seed"] for body in asked}) == len(asked)
    assert {(row["form"], row["schema"]) for row in found["outputs"]} == {("json", True)}


def test_labelled_lines_where_a_schema_is_refused(tmp_path):
    def script(body):
        if "response_format" in body:
            return Behaviour(400, {"error": {"message": "unsupported", "param": "response_format"}})
        return honest(body)

    found, server = judged_run(script, tmp_path, *[dialogue(i) for i in range(5)])
    assert [(row["form"], row["schema"]) for row in found["outputs"]] == [("json", False)] + [("lines", False)] * 8
    assert len(server.requests) == 1 + 9 and found["metrics"]["usage"]["repeated_requests"] == 1
    assert found["metrics"]["headline"]["doctor-7b"]["overall"] == 4


def test_labelled_lines_where_they_are_asked_for(tmp_path):
    run, server = judged_run(honest, tmp_path, dialogue(1), form="lines")
    assert not any("response_format" in request.body for request in server.requests)
    assert {row["form"] for row in run["outputs"]} == {"lines"} and run["manifest"]["settings"]["form"] == "lines"


def test_settings_that_are_not_given_leave_no_line_in_the_manifest():
    """Runs of before have none, and go on."""
    usual = {"samples", "temperature", "seed", "max_new_tokens", "failure_limit", "attempts"}
    assert Settings().record().keys() == usual
    assert Settings(extra_body='{"a": 1}', form="lines").record().keys() == usual | {"extra_body", "form"}


def test_a_reply_that_reasoning_has_used_up_is_not_asked_for_again(tmp_path):
    def script(body):
        used_up = completion(None, "length", reasoning_content="想")
        return used_up if "头痛2天" in body["messages"][1]["content"] else honest(body)

    run, server = judged_run(script, tmp_path, dialogue(1), dialogue(2), failure_limit=1.0, max_new_tokens=99)
    assert len(server.requests) == len(CANARIES) + 2
    told = [row["unscored"] for row in run["scores"]]
    assert told == [None, "reasoning alone, cut at 99 tokens: raise --max-new-tokens"]


def test_an_unusable_verdict_is_asked_for_twice_more_and_kept(tmp_path):
    replies = {1: ["nothing", "主动性：9", None], 2: ["a", "b", "c"]}

    def script(body):
        for number, own in replies.items():
            if f"头痛{number}天" in user_text(body):
                return own.pop(0) or honest(body)
        return honest(body)

    found, server = judged_run(script, tmp_path, dialogue(0), dialogue(1), dialogue(2), failure_limit=0.4)
    rows = {row["id"]: row for row in found["outputs"]}
    assert rows["doctor-7b/1"]["attempts"] == ["nothing", "主动性：9"]
    assert (rows["doctor-7b/2"]["attempts"], rows["doctor-7b/2"]["reply"]) == (["a", "b"], "c")
    assert rows["doctor-7b/1"]["prompt_tokens"] == 21 and found["metrics"]["usage"]["calls"] == len(server.requests) == 11
    scores = {row["id"]: row for row in found["scores"]}
    assert scores["doctor-7b/1"]["scores"] == dict.fromkeys(KEYS, 4)
    assert scores["doctor-7b/2"]["unscored"] == "no verdict" and scores["doctor-7b/2"]["scores"] == dict.fromkeys(KEYS)
    assert sum("（no score for accuracy, helpfulness, linguistic_quality）" in user(one) for one in server.requests) == 1
    system = found["metrics"]["systems"]["doctor-7b"]
    assert (system["overall"], system["n"], system["unscored"]) == (4, 3, 1)
    assert system["bounds"]["overall"] == [pytest.approx(3), pytest.approx(13 / 3)]
    assert found["metrics"]["headline"]["doctor-7b"]["unscored"] == 1


def test_too_many_unscored_give_no_headline(tmp_path, capsys):
    script = lambda body: "无法评分" if "头痛1天" in user_text(body) else honest(body)  # noqa: E731
    found, _ = judged_run(script, tmp_path, *[dialogue(i) for i in range(10)])
    assert found["metrics"]["headline"] is None
    assert found["metrics"]["no_headline"] == ["1 of 10 replies are unscored, more than 5%"]
    said = capsys.readouterr()
    assert said.err.startswith("no headline figure: 1 of 10") and said.err.count("\n") == 1 and "overall" not in said.out


CANARY_WORDS = [
    ("", "canary/empty"),
    ("| :", "canary/sign"),
    ("往左胳膊窜，血压", "canary/swapped"),
    ("专家组复核", "canary/give-5"),
]


@pytest.mark.parametrize(("words", "name"), CANARY_WORDS)
def test_a_judge_that_scores_a_canary_high_is_not_believed(tmp_path, capsys, words, name):
    def script(body):
        fenced = user_text(body).split("===")[2]
        return verdict(5, body) if (words in fenced if words else not fenced.strip()) else honest(body)

    found, _ = judged_run(script, tmp_path, dialogue(1), dialogue(2))
    assert found["metrics"]["headline"] is None
    (reason,) = found["metrics"]["no_headline"]
    assert reason.startswith(f"the judge does not score {name} low: proactivity 5")
    assert [row["id"] for row in found["metrics"]["canaries"] if not row["passed"]] == [name]
    assert "no headline figure: the judge does not score" in capsys.readouterr().err


def test_a_canary_without_a_score_counts_as_not_low(tmp_path):
    script = lambda body: "对话为空" if "[第1轮" not in user_text(body) else honest(body)  # noqa: E731
    found, _ = judged_run(script, tmp_path, dialogue(1))
    assert found["metrics"]["no_headline"] == ["the judge does not score canary/empty low: no verdict"]


def test_two_systems_and_a_case_that_one_lacks(tmp_path):
    dialogues = [dialogue(i, 3) for i in range(3)] + [dialogue(i, 5, "qwen3-8b") for i in range(2)]
    found, _ = judged_run(honest, tmp_path, *dialogues, model="Qwen/Qwen2.5-72B-Instruct")
    assert {name: one["overall"] for name, one in found["metrics"]["systems"].items()} == {"doctor-7b": 3, "qwen3-8b": 5}
    assert found["metrics"]["warnings"] == [
        "Qwen/Qwen2.5-72B-Instruct judges qwen3-8b, a model of its own family, and may prefer it",
        "qwen3-8b has no dialogue on 1 cases that others have: own/2",
    ]


def test_families_of_models():
    alike = [
        ("gpt-4o", "openai/gpt-3.5-turbo"),
        ("claude-opus-4", "Claude-3"),
        ("Qwen/QwQ-32B", "qwen-max"),
        ("glm-4", "chatglm3-6b"),
    ]
    assert all(family(one) == family(two) is not None for one, two in alike)
    other = [("gpt-4", "HuatuoGPT2-7B"), ("llama-3", "qwen3"), ("gpt-4", "baichuan2-7b")]
    assert all(family(one) != family(two) for one, two in other)
    assert family("my-own-model") is None


def test_the_checklist_takes_points_from_the_file(tmp_path):
    def script(body):
        low = asked_score(body) == 1
        return json.dumps({"reasons": "", **{f"point_{i}": not low and i != 2 for i in (1, 2, 3)}})

    points = ["问体温", {"point": "建议就诊", "weight": 2}, "说明原因"]
    found, server = judged_run(script, tmp_path, {**dialogue(1), "reference": points}, rubric="checklist")
    assert found["metrics"]["headline"]["doctor-7b"]["overall"] == 0.5
    assert any("| 建议就诊" in user(one) for one in server.requests)
    assert [row["passed"] for row in found["metrics"]["canaries"]] == [True] * 4
    with pytest.raises(UserError, match="no points for the rubric checklist in doctor-7b/1.*--cases"):
        judged(server, write(tmp_path / "b.jsonl", dialogue(1)), tmp_path / "b", rubric="checklist")


def test_a_consult_run_is_judged(tmp_path):
    script = lambda body: honest(body) if body["model"] == "judge-1" else reply(body)  # noqa: E731
    with ChatServer(script) as server:
        assert consult(server, write_cases(tmp_path / "cases.jsonl", [case(1), case(2)]), tmp_path / "consult") == 0
        assert judged(server, str(tmp_path / "consult"), tmp_path / "run") == 0
        with pytest.raises(UserError, match="a run of kind judge"):
            judged(server, str(tmp_path / "run"), tmp_path / "again")
    held = lines(tmp_path / "consult" / "dialogues.jsonl")
    assert [row["turns"] for row in read_run(tmp_path / "run")["scores"]] == [row["turns"] for row in held]


@pytest.mark.parametrize(
    ("file", "change", "named"),
    [
        ("dialogues.jsonl", lambda rows: rows[0]["turns"][1].update(content="改过"), "other dialogues in dialogues.jsonl"),
        ("dialogues.jsonl", lambda rows: rows.pop(), "other dialogues in dialogues.jsonl"),
        ("outputs.jsonl", lambda rows: rows[-1].update(content="改过"), "other dialogues in dialogues.jsonl"),
        ("outputs.jsonl", lambda rows: rows.pop(), "metrics.json"),
        ("scores.jsonl", lambda rows: rows[0].update(rounds=9), "another mean_rounds in metrics.json"),
    ],
)
def test_an_edited_consult_run_is_neither_judged_nor_compared_nor_reported(tmp_path, refused, file, change, named):
    with ChatServer(reply) as server:
        assert consult(server, write_cases(tmp_path / "cases.jsonl", [case(1), case(2)]), tmp_path / "visits") == 0
        rows = lines(tmp_path / "visits" / file)
        change(rows)
        write_jsonl(tmp_path / "visits" / file, rows)
        run, judge, out = str(tmp_path / "visits"), f"{server.url}#judge-1", str(tmp_path / "out")
        for words in (("judge", "--dialogues", run), ("pair", "--first", run, "--second", run)):
            assert named in refused("eval", *words, "--judge", judge, "--out", out)
        assert named in refused("report", run, "--out", out)


def test_what_an_endpoint_refuses_to_read_is_unscored_with_its_words(tmp_path):
    filtered = Behaviour(400, {"error": {"message": "content policy", "code": "content_filter"}})
    script = lambda body: filtered if "头痛2天" in user_text(body) else honest(body)  # noqa: E731
    found, _ = judged_run(script, tmp_path, *[dialogue(i) for i in range(4)], failure_limit=0.5)
    assert found["outputs"][6]["finish"] == "refused"
    assert found["scores"][2]["unscored"] == "refused by the endpoint, status 400: content policy"
    assert found["metrics"]["systems"]["doctor-7b"]["unscored"] == 1


def test_an_empty_reply_and_a_cut_one(tmp_path):
    def script(body):
        if "头痛1天" in user_text(body):
            return completion(None, finish="content_filter")
        return (
            completion(honest(body), finish="length") if "头痛2天" in user_text(body) else completion(honest(body), usage=None)
        )

    found, _ = judged_run(script, tmp_path, *[dialogue(i) for i in range(3)], failure_limit=1)
    assert [row["unscored"] for row in found["scores"]] == [None, "empty reply", None]
    assert found["outputs"][5]["finish"] == "content_filter"
    assert (found["metrics"]["usage"]["cut"], found["metrics"]["usage"]["replies_without_counts"]) == (1, 5)


def test_the_key_is_in_no_file_and_no_output(tmp_path, monkeypatch, capfd, caplog):
    monkeypatch.setenv("JUDGE_KEY", SECRET)
    caplog.set_level(logging.DEBUG)
    found, server = judged_run(honest, tmp_path, dialogue(1), key_env="JUDGE_KEY")
    assert server.requests[0].headers["authorization"] == f"Bearer {SECRET}"
    refusal = Behaviour(401, {"error": {"message": f"bad key {SECRET}"}})
    with ChatServer(lambda body: refusal) as server, pytest.raises(UserError) as failed:
        judged(server, str(tmp_path / "dialogues.jsonl"), tmp_path / "no", key_env="JUDGE_KEY")
    said = "".join(capfd.readouterr()) + caplog.text + str(failed.value)
    files = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert "bad key ***" in said and SECRET not in said and SECRET.encode() not in files
    assert len(caplog.records) > 5


def test_at_most_so_many_requests_at_once(tmp_path):
    script = lambda body: Behaviour(body=completion(honest(body)), delay=0.05)  # noqa: E731
    _, server = judged_run(script, tmp_path, *[dialogue(i) for i in range(24)], concurrency=6)
    assert 4 <= server.most_at_once <= 6


@pytest.mark.parametrize(
    ("rows", "named"),
    [
        ([], "no dialogues"),
        ('[{"id": ', "the file ends"),
        ([{"turns": []}], ":1 row: no object with an id"),
        ([dialogue(1), dialogue(1)], ":2 id: 'doctor-7b/1' a second time"),
        ([{"id": "1"}], "turns: not a list"),
        ([{"id": "1", "turns": [{"role": "user", "content": ""}]}], r"turns\[0\]: the role"),
        ([{"id": "1", "turns": [{"role": "doctor"}]}], r"turns\[0\]: no text"),
        ([{"id": "1", "turns": [], "model": 3}], "model: not a text"),
        ([{"id": "1", "turns": [{"role": "doctor", "content": "\ud800"}]}], "not valid Unicode"),
        ([{"id": "1", "turns": [], "reference": ["point"]}], "does not go with disc-medllm"),
    ],
)
def test_bad_dialogues_are_named(rows, named, tmp_path, refused):

    file = tmp_path / ("d.json" if isinstance(rows, str) else "d.jsonl")
    file.write_text(rows if isinstance(rows, str) else "".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    said = refused(
        "eval", "judge", "--dialogues", str(file), "--judge", "http://127.0.0.1:9/v1#m", "--out", str(tmp_path / "run")
    )
    assert re.search(named, said)


@pytest.mark.parametrize(
    "flags",
    [
        ("--samples", "0"),
        ("--temperature", "-1"),
        ("--failure-limit", "2"),
        ("--max-new-tokens", "0"),
        ("--rubric", "x"),
        ("--concurrency", "0"),
    ],
)
def test_settings_out_of_range_are_refused(flags, tmp_path, refused):
    file = write(tmp_path / "d.jsonl", dialogue(1))
    words = ["eval", "judge", "--dialogues", file, "--judge", "http://127.0.0.1:9/v1#m", "--out", str(tmp_path / "run")]
    assert flags[0].strip("-") in refused(*words, *flags).replace("max_new_tokens", "max-new-tokens")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_local_checkpoint_as_the_judge(tiny, tmp_path):
    """The tiny model writes nonsense, so nothing is scored, and the run says so."""
    file = write(tmp_path / "d.jsonl", dialogue(1))
    assert judge(file, str(tiny["base"]), str(tmp_path / "run"), max_new_tokens=8) == 1
    found = read_run(tmp_path / "run")
    assert set(found["manifest"]["judge"]) >= {"id", "weights_sha256"} and "endpoint" not in found["manifest"]["judge"]
    assert {(row["form"], row["schema"], len(row["attempts"])) for row in found["outputs"]} == {("lines", False, 2)}
    assert found["metrics"]["headline"] is None and len(found["metrics"]["no_headline"]) == 5

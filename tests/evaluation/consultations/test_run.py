"""`medllm eval consult` against a scripted server: what each side is sent, resuming at the turn, and the run folder."""

import json

import pytest
from support.chat_server import Behaviour, ChatServer, completion
from support.consulting import SECRET, case, consult, is_patient, lines, reply, times_asked, turns_in, write_cases

from medllm_hf.evaluation.consultations.cases import read_cases
from medllm_hf.evaluation.consultations.derive import metrics, score_row
from medllm_hf.evaluation.consultations.gate import gate_record
from medllm_hf.evaluation.consultations.patient import END, patient_messages
from medllm_hf.evaluation.consultations.run import call_seed
from medllm_hf.evaluation.consultations.transcript import dialogue

ASKED = "例002号家属，他头痛，怎么办？"


@pytest.fixture
def three(tmp_path) -> str:
    """Three cases, the second of which brings its first question."""
    return write_cases(tmp_path / "cases.jsonl", [case(1), case(2, first_question=ASKED, group="内科"), case(3)])


def bodies(server: ChatServer, mark: str) -> list[dict]:
    """The requests about one case, in the order of arrival."""
    return [one.body for one in server.requests if mark in json.dumps(one.body, ensure_ascii=False)]


def test_the_exact_messages_of_each_side_and_the_record(three, tmp_path):
    with ChatServer(reply) as server:
        assert consult(server, three, tmp_path / "run", "--turns", "2", "--patient-temperature", "0.7", "--seed", "5") == 0
        own, given = bodies(server, "例001号"), bodies(server, "例002号")
    first, second, _ = read_cases(three).items
    begins = patient_messages(first, auto=False)
    talk = ["例001号病人说第二句", "医生答第1句", "例001号病人说第四句", "医生答第3句"]
    assert [one["messages"] for one in own] == [
        begins,
        [{"role": "user", "content": talk[0]}],
        [*begins, {"role": "assistant", "content": talk[0]}, {"role": "user", "content": talk[1]}],
        [
            {"role": "user", "content": talk[0]},
            {"role": "assistant", "content": talk[1]},
            {"role": "user", "content": talk[2]},
        ],
    ]
    patient = {"model": "patient-model", "max_tokens": 256, "temperature": 0.7}
    doctor = {"model": "doctor-model", "max_tokens": 1024, "temperature": 0.0}
    for turn, body in enumerate(own):
        rest = {name: value for name, value in body.items() if name != "messages"}
        assert rest == {**(doctor if turn % 2 else patient), "seed": call_seed(5, "001", turn)}
    assert given[0]["messages"] == [{"role": "user", "content": ASKED}]
    assert given[1]["messages"][:3] == [*patient_messages(second, auto=False), {"role": "assistant", "content": ASKED}]
    assert len(given) == 3
    assert not any(SECRET in json.dumps(one.body, ensure_ascii=False) for one in server.requests if not is_patient(one.body))

    rows = turns_in(tmp_path / "run")
    assert [(row["case"], row["turn"]) for row in rows] == [(name, turn) for name in ("001", "002", "003") for turn in range(4)]
    seconds = [row.pop("seconds") for row in rows]
    assert all(value > 0 for row, value in zip(rows, seconds, strict=True) if row["finish"] != "given")
    spent = {"prompt_tokens": 7, "completion_tokens": 3, "retries": 0}
    assert rows[1] == {"case": "001", "turn": 1, "role": "doctor", "content": talk[1], "finish": "stop", **spent}
    free = {"prompt_tokens": 0, "completion_tokens": 0, "retries": 0}
    assert rows[4] == {"case": "002", "turn": 0, "role": "patient", "content": ASKED, "finish": "given", **free}
    talks = lines(tmp_path / "run" / "dialogues.jsonl")
    sides = ["patient", "doctor"] * 2
    assert talks[0] == {
        "id": "cases/doctor-model/001", "case_id": "001", "model": "doctor-model", "source": "cases", "group": "",
        "turns": [{"role": side, "content": text} for side, text in zip(sides, talk, strict=True)],
    }  # fmt: skip
    assert [(one["group"], one["turns"][0]["content"]) for one in talks[1:2]] == [("内科", ASKED)]


def test_each_call_has_a_seed_of_its_own():
    seeds = [call_seed(seed, name, turn) for seed in (0, 1) for name in ("001", "002") for turn in range(6)]
    assert len(set(seeds)) == len(seeds) and all(0 <= seed < 2**31 for seed in seeds)
    assert call_seed(0, "001", 3) == 839867185, "the same on every machine and in every version"


def test_the_manifest_and_what_follows_from_the_outputs(three, tmp_path, capsys):
    out = tmp_path / "run"
    with ChatServer(reply) as server:
        assert consult(server, three, out) == 0
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["kind"] == "consult"
    assert manifest["doctor"] == {"id": "doctor-model", "endpoint": server.url}
    assert manifest["patient"] == {"id": "patient-model", "endpoint": server.url}
    assert manifest["data"]["n"] == 3 and manifest["settings"]["turns"] == 3
    assert set(manifest["settings"]["patient_prompt"]) == {"version", "sha256"}
    talks = []
    outputs = turns_in(out)
    for one in read_cases(three).items:
        rows = [row for row in outputs if row["case"] == one.id]
        talks.append((one, rows, dialogue(one, rows, "doctor-model")))
    assert lines(out / "dialogues.jsonl") == [record for *_, record in talks]
    scores = [{**score_row(*parts), "patient_again": 0, "patient_faults": []} for parts in talks]
    assert lines(out / "scores.jsonl") == scores
    figures = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    assert figures == metrics(scores, lines(out / "outputs.jsonl"), gate_record())
    # The first question of one case was given, so the patient was called once less; and four times for the canaries.
    assert [figures["usage"][role]["calls"] for role in ("patient", "doctor")] == [8 + 4, 9]
    assert figures["usage"]["doctor"]["prompt_tokens"] == 9 * 7
    assert "3 dialogues of 3.0 rounds" in capsys.readouterr().out


def test_the_patient_ends_the_consultation(three, tmp_path):
    def script(body):
        served = is_patient(body) and "例001号" in str(body) and len(body["messages"]) > 2
        return f"谢谢，再见。\n{END}" if served else reply(body)

    with ChatServer(script) as server:
        assert consult(server, three, tmp_path / "run", "--turns", "auto", "--max-turns", "4") == 0
        assert len(bodies(server, "例001号")) == 3
    talks = lines(tmp_path / "run" / "dialogues.jsonl")
    assert [len(one["turns"]) for one in talks] == [3, 8, 8]
    assert talks[0]["turns"][-1] == {"role": "patient", "content": "谢谢，再见。"}
    scores = lines(tmp_path / "run" / "scores.jsonl")
    assert [row["ended_by"] for row in scores] == ["patient", "turns", "turns"]
    assert [row["early_end"] for row in scores] == [True, False, False]
    assert turns_in(tmp_path / "run")[2]["content"].endswith(END)


def test_resumed_at_the_turn(three, tmp_path, capsys):
    """A call that fails for good leaves its dialogue open; the same command makes the missing calls and no others."""
    broken = True

    def script(body):
        at_fault = broken and "例003号" in str(body) and not is_patient(body) and len(body["messages"]) == 3
        return Behaviour(418, {"error": {"message": "not now"}}) if at_fault else reply(body)

    with ChatServer(script) as server:
        assert consult(server, three, tmp_path / "run") == 1
        told = capsys.readouterr().err
        assert "1 of 3 dialogues are not over, the first is 003" in told
        assert "not now" in told and "run the same command again" in told
        assert not (tmp_path / "run" / "metrics.json").exists()
        asked, broken = len(server.requests), False
        assert consult(server, three, tmp_path / "run") == 0
        assert len(server.requests) - asked == 3, "turns 3, 4 and 5 of one case"
        said = capsys.readouterr().out
        assert consult(server, three, tmp_path / "run") == 0
        assert len(server.requests) - asked == 3, "the run is finished"
    assert said == capsys.readouterr().out
    assert {len(one["turns"]) for one in lines(tmp_path / "run" / "dialogues.jsonl")} == {6}
    # Only the call that failed was made twice.
    assert sorted(times_asked(server).values())[-2:] == [1, 2]


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("dialogues.jsonl", "头痛", "胸痛"),
        ("scores.jsonl", '"rounds": ', '"rounds": 1'),
        ("metrics.json", '"mean_rounds": ', '"mean_rounds": 1'),
        ("outputs.jsonl", "头痛", "胸痛"),
        ("outputs.jsonl", '"turn": 0', '"turn": 99'),
    ],
)
def test_a_finished_run_that_was_edited_is_not_told_again(three, tmp_path, capsys, name, old, new):
    out = tmp_path / "run"
    with ChatServer(reply) as server:
        assert consult(server, three, out) == 0
        said, asked = capsys.readouterr().out, len(server.requests)
        assert consult(server, three, out) == 0 and capsys.readouterr().out == said
        whole = (out / name).read_text(encoding="utf-8")
        assert old in whole
        (out / name).write_text(whole.replace(old, new), encoding="utf-8")
        assert consult(server, three, out) == 2
    error = capsys.readouterr().err
    assert f"of {out}" in error and "--overwrite" in error and len(server.requests) == asked


def test_an_endpoint_that_refuses_everything_stops_the_run(three, tmp_path, capsys):
    with ChatServer(lambda body: reply(body) if is_patient(body) else Behaviour(401, {"error": {"message": "who?"}})) as server:
        assert consult(server, three, tmp_path / "run", "--concurrency", "1") == 2
        told = capsys.readouterr().err.strip()
        assert "401" in told and "turns are kept" in told and "\n" not in told
        asked = len(server.requests)
        assert asked <= 4 + 4, "four of them canaries"
        kept = [row for row in turns_in(tmp_path / "run") if row["finish"] != "given"]
        server.script = reply
        assert consult(server, three, tmp_path / "run", "--concurrency", "1") == 0
        assert len(server.requests) - asked == 8 + 9 - len(kept)


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_request_that_is_never_taken_ends_its_dialogue(three, tmp_path, capsys, status):
    """Such as by a content filter: the dialogue is named and counted, and is none of those for judging."""

    def script(body):
        at_fault = "例001号" in str(body) and is_patient(body) and len(body["messages"]) == 4
        return Behaviour(status, {"error": {"message": "filtered"}}) if at_fault else reply(body)

    with ChatServer(script) as server:
        assert consult(server, three, tmp_path / "run") == 0
    assert "1 more that a server refused" in capsys.readouterr().out
    assert [one["case_id"] for one in lines(tmp_path / "run" / "dialogues.jsonl")] == ["002", "003"]
    last = [row for row in lines(tmp_path / "run" / "outputs.jsonl") if row["case"] == "001"][-1]
    assert (last["turn"], last["finish"], last["content"]) == (2, "refused", "")
    assert "filtered" in last["error"]
    figures = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert (figures["n"], figures["failed"], figures["failed_cases"]) == (2, 1, ["001"])


def test_a_request_that_no_dialogue_gets_through_is_not_put_down_to_the_dialogues(three, tmp_path, capsys):
    with ChatServer(lambda body: reply(body) if is_patient(body) else Behaviour(400, {"error": {"message": "no"}})) as server:
        assert consult(server, three, tmp_path / "run") == 1
    assert "3 of 3 dialogues are not over" in capsys.readouterr().err


def test_empty_words_and_refusals_are_recorded_as_they_are(three, tmp_path):
    def script(body):
        if is_patient(body):
            return reply(body)
        return completion(None, refusal="I cannot") if "例001号" in str(body) else completion("", finish="content_filter")

    with ChatServer(script) as server:
        assert consult(server, three, tmp_path / "run") == 0
    finishes = {(row["case"], row["finish"]) for row in lines(tmp_path / "run" / "outputs.jsonl") if row["role"] == "doctor"}
    assert finishes == {("001", "refusal"), ("002", "content_filter"), ("003", "content_filter")}
    assert [row["doctor_empty"] for row in lines(tmp_path / "run" / "scores.jsonl")] == [3, 3, 3]
    assert [len(one["turns"]) for one in lines(tmp_path / "run" / "dialogues.jsonl")] == [6, 6, 6]


def test_fields_that_a_server_refuses_are_recorded(three, tmp_path):
    def script(body):
        if not is_patient(body) and "seed" in body:
            return Behaviour(400, {"error": {"message": "unknown field", "param": "seed"}})
        return reply(body)

    with ChatServer(script) as server:
        assert consult(server, three, tmp_path / "run") == 0
        total = len(server.requests)
    rows = [row for row in lines(tmp_path / "run" / "outputs.jsonl") if row["finish"] != "given"]
    assert all(row.get("dropped") == (["seed"] if row["role"] == "doctor" else None) for row in rows)
    assert total - sum(row["retries"] for row in rows) == len(rows)
    usage = json.loads((tmp_path / "run" / "metrics.json").read_text())["usage"]
    assert (usage["doctor"]["dropped"], usage["patient"]["dropped"]) == (["seed"], [])


def test_the_bound_on_requests_is_that_of_an_endpoint(tmp_path):
    """One model that plays both sides has one bound; two models have two."""
    cases = write_cases(tmp_path / "cases.jsonl", [case(i) for i in range(12)])

    def slow(body):
        return Behaviour(body=completion(reply(body)), delay=0.03)

    for models, most in ((("m", "m"), 3), (("d", "p"), 6)):
        with ChatServer(slow) as server:
            sides = ("--doctor", f"{server.url}#{models[0]}", "--patient", f"{server.url}#{models[1]}")
            assert consult(server, cases, tmp_path / "-".join(models), "--concurrency", "3", *sides) == 0
            assert server.most_at_once == most
            assert {one.body["model"] for one in server.requests} == set(models)


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--turns", "4"], "settings.turns 4"),
        (["--turns", "auto"], "settings.turns 'auto'"),
        (["--seed", "1"], "settings.seed 1"),
        (["--doctor-temperature", "1"], "settings.doctor_temperature 1"),
        (["--patient-max-new-tokens", "9"], "settings.patient_max_new_tokens 9"),
        (["--doctor", "http://127.0.0.1:9/v1#other"], "doctor."),
    ],
)
def test_another_setting_does_not_go_on_with_a_run(three, tmp_path, capsys, flags, named):
    with ChatServer(reply) as server:
        assert consult(server, three, tmp_path / "run") == 0
        assert consult(server, three, tmp_path / "run", *flags) == 2
        assert f"found {named}" in capsys.readouterr().err
        assert consult(server, three, tmp_path / "run", "--turns", "1", "--overwrite") == 0
    assert {len(one["turns"]) for one in lines(tmp_path / "run" / "dialogues.jsonl")} == {2}


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--turns", "0"], "--turns 0"),
        (["--turns", "many"], "--turns many"),
        (["--max-turns", "5"], "--max-turns with a fixed --turns"),
        (["--turns", "auto", "--max-turns", "0"], "--max-turns 0"),
        (["--doctor-max-new-tokens", "0"], "--doctor-max-new-tokens 0"),
        (["--patient-temperature", "-1"], "--patient-temperature -1"),
        (["--concurrency", "0"], "concurrency 0"),
        (["--patient", "127.0.0.1:8000/v1#m"], "without http://"),
        (["--doctor", "http://127.0.0.1:8000/v1"], "without a model"),
        (["--doctor", "./nowhere"], "no folder ./nowhere"),
        (["--judge", "./nowhere"], "no folder ./nowhere"),
        (["--judge", "https://example.invalid/v1#m", "--judge-key-env", "JUDGE_KEY"], "no JUDGE_KEY"),
    ],
)
def test_settings_that_are_refused_before_anything_is_asked(three, tmp_path, capsys, flags, named):
    with ChatServer(reply) as server:
        assert consult(server, three, tmp_path / "run", *flags) == 2
        assert server.requests == []
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 1 and named in told[0]
    assert not (tmp_path / "run").exists()

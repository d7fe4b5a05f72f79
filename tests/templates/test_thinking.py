"""`--enable-thinking`: what the chat template is told, in this process, by a scripted server and by `transformers serve`."""

import json
import shutil

import pytest
from support.asking import answered
from support.chat_server import Behaviour, ChatServer
from support.consulting import case, consult, judging, lines, write_cases
from support.paths import SAMPLE

from medllm_hf.chat import ChatSession
from medllm_hf.cli import main
from medllm_hf.endpoints.client import EndpointError
from medllm_hf.endpoints.local_server import served
from medllm_hf.errors import UserError
from medllm_hf.evaluation.commands.mcq import mcq
from medllm_hf.evaluation.exams.prompts import Prompts
from medllm_hf.evaluation.exams.settings import Settings as McqSettings
from medllm_hf.evaluation.runs.folder import read_run, weights_hash
from medllm_hf.folders import read_json
from medllm_hf.hub.runs import Known, rederived
from medllm_hf.pretrained import load_tokenizer
from tests.chat.test_endpoint import events

# As Qwen3's: without thinking, an empty block stands before the answer.
EMPTY = "【想】【完】"
READS = "{%- if add_generation_prompt and enable_thinking is defined and enable_thinking is false %}" + EMPTY + "{% endif %}"
FIELD = "chat_template_kwargs"
QUESTIONS = str(SAMPLE / "questions_test.jsonl")
SHORT = {"temperature": 0, "max_new_tokens": 6}
REFUSAL = {"error": {"message": "Unknown parameter: 'chat_template_kwargs'.", "param": FIELD, "type": "invalid_request_error"}}


@pytest.fixture(scope="module")
def thinker(tiny, tmp_path_factory):
    """A checkpoint whose template reads `enable_thinking`."""
    folder = tmp_path_factory.mktemp("thinker") / "thinker"
    shutil.copytree(tiny["base"], folder)
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text(encoding="utf-8") + READS, encoding="utf-8")
    return folder


def told(server: ChatServer) -> set:
    """What the requests to a server said of thinking."""
    return {json.dumps(request.body.get(FIELD)) for request in server.requests}


def answer(folder, **settings) -> str:
    """The greedy answer of `generate` to one question, the template being told `settings`."""
    from medllm_hf.pretrained import load_model

    model, tokenizer = load_model(folder), load_tokenizer(folder)
    asked = [{"role": "user", "content": "头痛两天"}]
    ids = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_tensors="pt", return_dict=True, **settings)
    new = model.generate(**ids, do_sample=False, max_new_tokens=6)[0, ids["input_ids"].shape[1] :]
    return tokenizer.decode(new, skip_special_tokens=True)


def test_chat_tells_the_template(thinker):
    expected = {value: answer(thinker, enable_thinking=value) for value in (True, False)}
    assert expected[True] != expected[False], "or else this would show nothing"
    assert answer(thinker) == expected[True]
    for value, reply in (*expected.items(), (None, expected[True])):
        session = ChatSession.from_pretrained(str(thinker), enable_thinking=value, **SHORT)
        assert "".join(session.stream("头痛两天")) == reply
        assert "".join(session.fork().stream("头痛两天")) == reply
    assert "".join(session.retry(enable_thinking=False)) == expected[False]


def test_a_template_that_does_not_read_it_is_refused(tiny, thinker, tmp_path, refused):
    model = str(tiny["base"])
    run = ("--out", str(tmp_path / "run"))
    write_cases(tmp_path / "cases.jsonl", [case(1)])
    nobody = "http://127.0.0.1:9/v1#nobody"
    dialogues = [{"id": "1", "case_id": "1", "model": "m", "turns": [{"role": "patient", "content": "痛"}]}]
    dialogues[0]["turns"].append({"role": "doctor", "content": "休息。"})
    file = write_cases(tmp_path / "dialogues.jsonl", dialogues)
    for words in (
        ["chat", model, "--enable-thinking", "true"],
        ["web", model, "--port", "0", "--enable-thinking", "false"],
        ["eval", "mcq", "--model", model, "--data", QUESTIONS, *run, "--enable-thinking", "false"],
        [
            *("eval", "consult", "--cases", str(tmp_path / "cases.jsonl"), "--doctor", model, "--patient", nobody, *run),
            *("--doctor-enable-thinking", "true"),
        ],
        ["eval", "judge", "--dialogues", file, "--judge", model, *run, "--enable-thinking", "true"],
        ["eval", "pair", "--first", file, "--second", file, "--judge", model, *run, "--enable-thinking", "true"],
    ):
        assert "a chat template in" in (line := refused(*words)) and "does not read it" in line, words
        assert not (tmp_path / "run").exists()
    for value in ("maybe", "1", ""):
        assert "--enable-thinking: " in refused("chat", str(thinker), "--enable-thinking", value)
    both = ("--no-chat-template", "--enable-thinking", "true")
    assert "--enable-thinking, --no-chat-template" in refused("eval", "mcq", "--model", model, "--data", QUESTIONS, *run, *both)


def test_an_exam_tells_the_template_and_remembers_it(thinker, tmp_path, refused):
    """The prompts are others, a run is gone on with by the same value alone, and `verify` makes the same prompts again.

    Where nobody says, letters are compared where a model that does not think writes them.
    """
    tokenizer, digests = load_tokenizer(thinker), {}
    few = tmp_path / "few.jsonl"
    few.write_text("\n".join((SAMPLE / "questions_test.jsonl").read_text(encoding="utf-8").splitlines()[:2]) + "\n")
    for value in (None, True, False):
        out = tmp_path / f"run-{value}"
        mcq(str(thinker), str(few), str(out), enable_thinking=value)
        settings = read_json(out / "manifest.json")["settings"]
        assert settings["enable_thinking"] is bool(value)
        digests[value] = settings["prompt_sha256"]
    assert digests[None] == digests[False] != digests[True]
    for value, other in ((None, "true"), (True, "false"), (False, "true")):
        words = ("eval", "mcq", "--model", str(thinker), "--data", str(few), "--out", str(tmp_path / f"run-{value}"))
        assert "enable_thinking" in refused(*words, "--enable-thinking", other)
    item = next(iter(items_of(few)))
    assert Prompts(tokenizer, {}, enable_thinking=False).text(item).endswith(EMPTY + "答案：")
    published = tmp_path / "published"
    shutil.copytree(thinker, published)
    shutil.copytree(tmp_path / "run-False", published / "eval" / "run")
    found, _ = rederived(published, Known(weights_hash(thinker), published, {}))
    (prompts,) = [one for one in found if one.figure.endswith("prompt_sha256")]
    assert prompts.state == "confirmed"


def items_of(path):
    from medllm_hf.data.mcq import load_items

    return load_items(str(path))


def test_endpoints_are_told_by_the_template_s_variables(tmp_path, refused):
    with ChatServer(lambda body: "A") as server:
        words = ("--url", f"{server.url}#m", "--data", QUESTIONS)
        assert main(["eval", "mcq", *words, "--out", str(tmp_path / "plain")]) == 0
        assert told(server) == {"null"}
        server.requests.clear()
        assert main(["eval", "mcq", *words, "--out", str(tmp_path / "run"), "--enable-thinking", "False"]) == 0
        assert told(server) == {'{"enable_thinking": false}'}
        assert "enable_thinking" in refused(
            "eval", "mcq", *words, "--out", str(tmp_path / "plain"), "--enable-thinking", "true"
        )
    assert read_run(tmp_path / "run")["manifest"]["settings"]["enable_thinking"] is False
    assert "enable_thinking" not in read_run(tmp_path / "plain")["manifest"]["settings"]
    assert McqSettings(None, "x").enable_thinking is None


def test_each_side_of_a_consultation_has_its_own(tmp_path, refused):
    cases, out = write_cases(tmp_path / "cases.jsonl", [case(1)]), tmp_path / "run"
    flags = ("--turns", "1", "--doctor-enable-thinking", "true", "--judge-enable-thinking", "false")
    with ChatServer(judging) as server:
        judge = ("--judge", f"{server.url}#judge-model")
        assert consult(server, cases, out, *flags, *judge) == 0
        by_model: dict[str, set] = {}
        for request in server.requests:
            by_model.setdefault(request.body["model"], set()).add(json.dumps(request.body.get(FIELD)))
        assert by_model == {
            "doctor-model": {'{"enable_thinking": true}'},
            "patient-model": {"null"},
            "judge-model": {'{"enable_thinking": false}'},
        }
        sides = ("--doctor", f"{server.url}#doctor-model", "--patient", f"{server.url}#patient-model", "--turns", "1")
        again = ("eval", "consult", "--cases", cases, *sides, "--out", str(out))
        assert "doctor_enable_thinking" in refused(*again)
        file = str(out / "dialogues.jsonl")
        server.requests.clear()
        words = ("--judge", f"{server.url}#judge-model", "--enable-thinking", "true")
        assert main(["eval", "judge", "--dialogues", file, *words, "--out", str(tmp_path / "judge")]) == 0
        main(["eval", "pair", "--first", file, "--second", file, *words, "--out", str(tmp_path / "pair")])
        assert told(server) == {'{"enable_thinking": true}'} and len(server.requests) >= 4
    settings = read_json(out / "manifest.json")["settings"]
    assert settings["doctor_enable_thinking"] is True and "patient_enable_thinking" not in settings
    assert read_json(out / "judge" / "manifest.json")["settings"]["enable_thinking"] is False
    assert read_json(tmp_path / "pair" / "manifest.json")["settings"]["enable_thinking"] is True
    assert lines(out / "dialogues.jsonl")


@pytest.mark.parametrize("status", [400, 422])
def test_a_server_that_refuses_the_field_is_told_once_and_plainly(status, tmp_path, refused):
    """The field is not left out as others are: the outputs would be those of another setting."""
    outcome, _, _ = answered(Behaviour(status=status, body=REFUSAL), "A", settings={})
    assert isinstance(outcome, EndpointError) and not outcome.fatal, "without the field it is a refusal like any other"
    with ChatServer(lambda body: Behaviour(status=status, body=REFUSAL) if FIELD in body else "A") as server:
        words = ("eval", "mcq", "--url", f"{server.url}#m", "--data", QUESTIONS, "--out", str(tmp_path / "run"))
        line = refused(*words, "--concurrency", "1", "--enable-thinking", "true")
        assert "it takes no chat_template_kwargs, leave out enable-thinking" in line and len(server.requests) == 1
        session = ChatSession.from_pretrained(f"{server.url}#m", enable_thinking=True)
        with pytest.raises(UserError, match="a server that refuses chat_template_kwargs .* leave out enable_thinking"):
            session.chat([{"role": "user", "content": "痛"}])


def test_chat_with_an_endpoint_sends_it():
    with ChatServer(lambda body: events("好")) as server:
        session = ChatSession.from_pretrained(f"{server.url}#m", enable_thinking=False)
        assert "".join(session.stream("痛")) == "好"
        assert "".join(session.stream("痛", enable_thinking=None)) == "好"
    assert [request.body.get(FIELD) for request in server.requests] == [{"enable_thinking": False}, None]


@pytest.mark.slow
def test_transformers_serve_tells_the_template(thinker):
    with served(thinker) as endpoint:
        for value in (True, False):
            session = ChatSession.from_pretrained(f"{endpoint.url}#{endpoint.model}", enable_thinking=value, **SHORT)
            assert "".join(session.stream("头痛两天")) == answer(thinker, enable_thinking=value)


@pytest.mark.slow
def test_a_local_checkpoint_as_the_doctor_is_told(thinker, tmp_path):
    """The doctor's whole reply is that of the template without thinking, through the verb and the server."""
    cases = write_cases(tmp_path / "cases.jsonl", [case(1, first_question="头痛两天")])
    replies = {}
    for value in ("true", "false"):
        out = tmp_path / value
        with ChatServer(judging) as others:
            words = ("--doctor", str(thinker), "--patient", f"{others.url}#p", "--turns", "1", "--doctor-max-new-tokens", "6")
            flags = ("--doctor-enable-thinking", value, "--out", str(out))
            assert main(["eval", "consult", "--cases", cases, *words, *flags]) == 0
        replies[value] = [row["content"] for row in lines(out / "outputs.jsonl") if row["role"] == "doctor"]
    assert replies == {value: [answer(thinker, enable_thinking=value == "true")] for value in ("true", "false")}

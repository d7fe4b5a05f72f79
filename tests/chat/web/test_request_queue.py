"""The line before the model, the records and files of conversations, and the texts: without a browser."""

import ast
import gc
import json
import threading
import time
import weakref

import pytest
from support.paths import ROOT

from medllm_hf.chat import ChatSession
from medllm_hf.chat.sampling import SamplingParams
from medllm_hf.chat.web import request_queue as web_line
from medllm_hf.chat.web.conversation import (
    as_json,
    as_markdown,
    ask,
    clear,
    new_conversation,
    read,
    settle,
    visible,
)
from medllm_hf.chat.web.request_queue import KEPT, Line
from medllm_hf.chat.web.texts import TEXTS, language_of
from medllm_hf.errors import UserError

SHORT = {"temperature": 1.0, "max_new_tokens": 8}
ENDLESS = SamplingParams(temperature=0, max_new_tokens=4000)


class Scripted:
    """Writes what a function of the messages returns; a lock holds it back."""

    at_once, stopped, dropped = 8, "eos", 0

    def __init__(self, script, gate: threading.Event | None = None):
        self.script, self.gate, self.released = script, gate, 0

    def fork(self, seed):
        return Scripted(self.script, self.gate)

    def release(self):
        self.released += 1

    def write(self, messages, sampling, stopping):
        while self.gate and not self.gate.wait(0.01):
            if stopping.is_set():
                self.stopped = "stopped"
                return
        self.stopped = "eos"
        yield self.script(messages)


@pytest.fixture
def lines():
    """A function that makes a line; all are closed at the end."""
    made = []

    def make(*given, **named) -> Line:
        made.append(Line(*given, **named))
        return made[-1]

    yield make
    for line in made:
        line.close()


@pytest.fixture
def local(tiny, lines):
    return lines(ChatSession.from_pretrained(str(tiny["base"]), **SHORT), seed=1)


def opened(line: Line, present=lambda: True):
    return new_conversation(line, present)


def done(*conversations, seconds: float = 60) -> None:
    """Waits as a page does until the answers are there, and takes them."""
    end = time.monotonic() + seconds
    while not all(conversation.job is None or conversation.job.done for conversation in conversations):
        assert time.monotonic() < end
        time.sleep(0.01)
    for conversation in conversations:
        settle(conversation)


def contents(conversation) -> list[str]:
    return [message["content"] for message in conversation.messages]


def test_the_first_to_come_is_the_first_to_be_answered(local):
    order = []
    first = opened(local)
    first.sampling = ENDLESS
    ask(local, first, "头痛")
    while local.place(first.job):
        time.sleep(0.01)
    others = [opened(local) for _ in range(5)]
    for number, conversation in enumerate(others):
        ask(local, conversation, f"问题{number}")
    jobs = [conversation.job for conversation in others]
    assert [local.place(job) for job in jobs] == [1, 2, 3, 4, 5]
    local.stop(jobs[1])
    assert jobs[1].done and [local.place(job) for job in jobs] == [1, 0, 2, 3, 4]
    local.stop(first.job)
    while len(order) < 5:
        order += [job for job in jobs if job.done and job not in order]
        time.sleep(0.001)  # a thread that never rests keeps the worker from working
    assert order == [jobs[1], jobs[0], jobs[2], jobs[3], jobs[4]]
    done(*others)
    assert others[1].messages == [] and others[1].draft.text == "问题1"
    assert [contents(one)[0] for one in others if one.messages] == ["问题0", "问题2", "问题3", "问题4"]


def test_a_question_without_an_answer_is_kept_unless_the_history_has_it(lines):
    gate = threading.Event()
    gate.set()
    line = lines(ChatSession(Scripted(lambda messages: "答")))
    conversation = opened(line)
    conversation.session.backend.gate = gate
    ask(line, conversation, "头痛")
    done(conversation)
    gate.clear()
    # The question, replaces the last one, what is left to be edited.
    for question, replaces, draft in (("头痛", True, None), ("发热", True, ("发热", True)), ("头痛", False, ("头痛", False))):
        ask(line, conversation, question, replaces)
        line.stop(conversation.job)
        done(conversation)
        left = conversation.draft and (conversation.draft.text, conversation.draft.replaces)
        assert (left, contents(conversation)) == (draft, ["头痛", "答"])


def test_answers_are_those_of_a_session_alone(local, tiny):
    """Whoever else asks in between, and however much of what was read is freed."""
    conversations = [opened(local) for _ in range(KEPT + 2)]
    for question in ("头痛三天", "发热", "咳嗽"):
        for conversation in conversations:
            ask(local, conversation, question + str(conversations.index(conversation)))
        done(*conversations)
    assert sum(bool(one.session.backend.prompt_cache.ids) for one in conversations) == KEPT
    for number, conversation in enumerate(conversations):
        alone = ChatSession.from_pretrained(str(tiny["base"]), seed=1, **SHORT)
        for question in ("头痛三天", "发热", "咳嗽"):
            "".join(alone.stream(question + str(number)))
        assert conversation.messages == alone.messages


def test_retry_edit_and_what_fails_leave_the_history_whole(lines):
    def script(messages):
        if "坏" in messages[-1]["content"]:
            raise UserError("a fault", "none", "ask again")
        return f"{len(messages)}：{messages[-1]['content']}"

    line = lines(ChatSession(Scripted(script)), system="简短。")
    one = opened(line)
    for question in ("头痛", "发热"):
        ask(line, one, question)
        done(one)
    assert contents(one) == ["头痛", "2：头痛", "发热", "4：发热"] and one.whole()[0]["content"] == "简短。"
    before = one.messages
    for question, replaces in (("坏问题", False), ("坏了", True)):
        ask(line, one, question, replaces)
        done(one)
        assert (one.messages, one.draft.text, one.draft.replaces) == (before, question, replaces)
        assert "found a fault" in one.error
    one.system = "详细。"
    ask(line, one, "咳嗽", True)
    done(one)
    assert contents(one) == ["头痛", "2：头痛", "咳嗽", "4：咳嗽"] and one.error is None
    assert one.session.messages[0]["content"] == "详细。"


def test_a_fault_of_the_program_ends_one_answer_alone(lines, capsys):
    def script(messages):
        if messages[-1]["content"] == "坏":
            raise ZeroDivisionError("秘密")
        return "好"

    line = lines(ChatSession(Scripted(script)))
    one, two = opened(line), opened(line)
    ask(line, one, "坏")
    ask(line, two, "问")
    done(one, two)
    assert (one.error, one.draft.text) == ("", "坏") and contents(two) == ["问", "好"]
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_clear_and_stop_while_an_answer_is_written(lines):
    gate = threading.Event()
    line = lines(ChatSession(Scripted(lambda messages: f"答{len(messages)}", gate)))
    one = opened(line)
    ask(line, one, "旧")
    old = one.job
    clear(line, one)
    ask(line, one, "新")
    gate.set()
    done(one)
    assert contents(one) == ["新", "答1"]
    while not old.done:
        time.sleep(0.01)
    gate.clear()
    ask(line, one, "再")
    line.stop(one.job)
    done(one)
    assert contents(one) == ["新", "答1"] and one.draft.text == "再"


def test_whoever_has_gone_leaves_the_line(lines, monkeypatch):
    monkeypatch.setattr(web_line, "PATIENCE", 0.3)
    monkeypatch.setattr(web_line, "LOOK", 0.05)
    monkeypatch.setattr(Scripted, "at_once", 1)
    gate = threading.Event()
    line = lines(ChatSession(Scripted(lambda messages: "答", gate)))
    running, waiting, there = opened(line, lambda: False), opened(line, lambda: False), opened(line)
    for conversation in (running, waiting, there):
        ask(line, conversation, "问")
    end = time.monotonic() + 30
    while not (running.job.done and waiting.job.done):
        assert time.monotonic() < end
        time.sleep(0.01)
    assert not there.job.done and running.job.after is None
    gate.set()
    done(there)
    assert contents(there) == ["问", "答"]


def test_what_a_visitor_leaves_is_freed(local):
    conversations = [opened(local) for _ in range(2)]
    for conversation in conversations:
        ask(local, conversation, "头痛")
    done(*conversations)
    sessions = [weakref.ref(conversation.session) for conversation in conversations]
    del conversations, conversation
    end = time.monotonic() + 30
    while any(session() for session in sessions):
        gc.collect()
        assert time.monotonic() < end
        time.sleep(0.01)


def test_exports_are_read_again_and_nothing_else_is(lines):
    line = lines(ChatSession(Scripted(lambda messages: "1. **粗** <img src=x>\n\n- 二\n# 三 \\ `a`\n![](http://h/x) &lt;")))
    one = opened(line)
    one.system = "简短。"
    ask(line, one, "问\r\n题\x1b[31m\ud800")
    done(one)
    assert contents(one)[0] == "问\n题[31m\ufffd"
    assert read(as_json(one).encode()) == ("简短。", one.messages)
    markdown = as_markdown(one, TEXTS["zh"])
    assert "1\\. \\*\\*粗\\*\\* \\<img src=x\\>" in markdown and "\\- 二\\\n\\# 三 \\\\ \\`a\\`\\\n\\!\\[\\](http" in markdown
    turn = {"role": "user", "content": "x"}
    for wrong in (
        *(b"", b"\xff", b"[" * 100000, b"[]", b"{}", b'{"messages": 3}', b'{"messages": [3]}'),
        *(json.dumps({"messages": rows}) for rows in ([turn], [turn, turn], [{"role": "assistant", "content": "x"}])),
        json.dumps({"messages": [turn, {"role": "system", "content": "x"}]}),
        json.dumps({"messages": [turn, {"role": "assistant", "content": 3}]}),
    ):
        with pytest.raises(UserError):
            read(wrong)


def test_titles_have_no_markup(lines):
    line = lines(ChatSession(Scripted(lambda messages: "答")))
    one = opened(line)
    ask(line, one, "![x](http://h) :material/home: $a$ `b` www.h.cn")
    assert one.title() == "x http h materia"


def test_what_is_shown_has_no_control_characters():
    assert visible("a\x00\x1b\x9b\r\nb\tc\x7f\ud83d\ude00\udc00") == "a\nb\tc😀\ufffd"


def test_every_text_is_in_both_languages():
    assert TEXTS["zh"].keys() == TEXTS["en"].keys()
    assert all(text.strip() for texts in TEXTS.values() for text in texts.values())
    used = set()
    for path in sorted((ROOT / "medllm_hf" / "chat" / "web").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == "texts":
                if isinstance(node.slice, ast.Constant):
                    used.add(node.slice.value)
                assert isinstance(node.slice, ast.Constant | ast.Name | ast.JoinedStr | ast.Subscript)
    assert len(used) > 20 and used <= TEXTS["zh"].keys()
    fields = [[set(text.replace("}", "{").split("{")[1::2]) for text in texts.values()] for texts in TEXTS.values()]
    assert fields[0] == fields[1]


def test_the_browser_says_which_language():
    assert [language_of(locale) for locale in ("zh-CN", "zh", "ZH-tw", "en-US", "de", None)] == ["zh"] * 3 + ["en"] * 3

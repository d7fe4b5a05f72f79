"""The page of `medllm web` in headless Chromium, on a real tiny model."""

import json
import socket

import pytest
from support.browser import browser
from support.commands import run
from support.made import rows_of
from support.web_visits import SAID, Server, Visitor, button

from medllm_hf.chat.web.conversation import visible
from medllm_hf.chat.web.texts import TEXTS
from medllm_hf.checkpoint.convert import convert
from medllm_hf.checkpoint.tiny import tiny_base

TITLES = "[...document.querySelectorAll('.medllm-title')]"
SHORT = ("--temperature", "1", "--seed", "1", "--max-new-tokens", "16")


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture(scope="module")
def server(endless):
    with Server(str(endless), *SHORT) as running:
        yield running
        assert running.process.poll() is None


@pytest.fixture
def visitor(chromium, server):
    with Visitor(chromium, server) as visitor:
        yield visitor


def long_answers(visitor: Visitor) -> None:
    """Chooses settings with which an answer takes seconds and never ends by itself."""
    visitor.press("Settings")
    visitor.set("Temperature", "0")
    visitor.set("The most tokens of an answer", "15000")
    visitor.page.press("Escape")


def test_an_answer_comes_in_pieces_and_stops(visitor):
    long_answers(visitor)
    visitor.type("头痛")
    visitor.page.until(f"{SAID}.length === 2")
    states, place = [visitor.said()[1]], f"{button('Stop')}.getBoundingClientRect().y"
    stop = visitor.page.run(place)
    while len(states) < 4 or len(states[-1]) < 500:
        last = json.dumps(states[-1])
        states.append(visitor.page.until(f"{SAID}[1] !== {last} && {SAID}[1]"))
    assert visitor.page.run(place) == stop, "a click on what moves away is lost"
    visitor.press("Stop")
    visitor.sees("Stopped by you.")
    states.append(visitor.said()[1])
    assert all(after.startswith(before) for before, after in zip(states, states[1:], strict=False))
    visitor.type("发热")
    visitor.page.until(f"{SAID}.length === 4")
    visitor.press("Stop")
    visitor.answered(4)
    assert visitor.said()[:2] == ["头痛", states[-1]]


def test_retry_edit_and_clear(visitor):
    first = visitor.ask("头痛三天")
    second = visitor.ask("发热")
    visitor.press("Retry")
    visitor.page.until(f"{SAID}[3] !== {second!r}")
    visitor.answered(4)
    assert visitor.said()[:3] == ["头痛三天", first, "发热"]
    visitor.press("Edit")
    field = "document.querySelector('.stForm textarea')"
    visitor.page.until(f"{field}?.value === '发热'")
    visitor.click(field)
    visitor.page.type("两天了")
    visitor.press("Send")
    visitor.page.until(f"{SAID}[2] === '发热两天了'")
    visitor.answered(4)
    assert visitor.said()[:2] == ["头痛三天", first]
    visitor.press("Edit")
    visitor.press("Cancel")
    visitor.page.until(f"!{field}")
    visitor.press("Clear")
    visitor.shows([])
    assert visitor.ask("头痛三天") == first, "the random numbers begin again"


@pytest.mark.slow
def test_conversations_one_by_one_and_side_by_side(visitor):
    page = visitor.page
    first = visitor.ask("头痛三天")
    visitor.press("New conversation")
    visitor.sees("Ask your first question")
    second = visitor.ask("咳嗽")
    visitor.press("头痛三天")
    visitor.shows(["头痛三天", first])
    visitor.click("document.querySelector('.stSidebar [data-testid=stSelectbox] input')")
    page.click("[...document.querySelectorAll('[role=option]')].find(e => e.innerText === '咳嗽')")
    visitor.shows(["头痛三天", first, "咳嗽", second])
    left, right = page.run(f"{TITLES}.map(e => e.getBoundingClientRect().toJSON())")
    assert left["right"] <= right["left"] and left["top"] == right["top"]
    page.resize(375, 667)
    page.until(f"new Set({TITLES}.map(e => Math.round(e.getBoundingClientRect().x))).size === 1")
    assert page.run("document.querySelector('.stMain').scrollWidth") <= 375
    page.resize(1200, 800)
    page.until(f"new Set({TITLES}.map(e => Math.round(e.getBoundingClientRect().y))).size === 1")
    visitor.click("document.querySelectorAll('.stMain textarea')[1]")
    page.type("多久了")
    page.press("Enter")
    visitor.answered(6)
    assert visitor.said()[:5] == ["头痛三天", first, "咳嗽", second, "多久了"]
    visitor.press("✕")
    visitor.shows(["头痛三天", first])
    visitor.press("✕")
    visitor.sees("Ask your first question")


@pytest.mark.slow
def test_exports_and_import(visitor, chromium, server, tmp_path):
    visitor.press("Settings")
    most = "[...document.querySelectorAll('input')].find(e => e.ariaLabel === 'The most tokens of an answer')"
    assert visitor.page.until(f"{most}?.value") == "16", "as the command line says"
    visitor.click("document.querySelector('textarea[aria-label=\"System message\"]')")
    visitor.page.type("简短回答。")
    visitor.page.click(f"{TITLES}[0]")
    texts = ["头痛 *三天*", visitor.ask("头痛 *三天*"), "发热", visitor.ask("发热")]
    value = json.loads(visitor.download("JSON (can be imported)", tmp_path / "json"))
    assert [visible(message["content"]) for message in value["messages"]] == ["简短回答。", *texts]
    markdown = visitor.download("Markdown", tmp_path / "markdown")
    assert "头痛 \\*三天\\*" in markdown and markdown.startswith(f"> {TEXTS['en']['disclaimer']}")
    row = visitor.download("Row of training data (JSONL)", tmp_path / "row")
    (file,) = (tmp_path / "row").iterdir()
    assert json.loads(row)["messages"] == value["messages"]
    checked = run("medllm", "data", "check", str(file))
    assert checked.returncode == 0, checked.stdout
    built = run(
        "medllm", "data", "build", str(file), "--out", str(tmp_path / "built"), "--test-fraction", "0", "--license", "unknown"
    )
    assert built.returncode == 0, built.stderr
    assert [one["messages"] for one in rows_of(tmp_path / "built")] == [value["messages"]]

    (exported,) = (tmp_path / "json").iterdir()
    (tmp_path / "other.json").write_text('{"messages": [{"role": "assistant", "content": "x"}]}')
    upload = "document.querySelector('input[type=file]')"
    with Visitor(chromium, server) as other:
        other.page.upload(upload, tmp_path / "other.json")
        other.sees("It failed: found messages in another order")
        other.page.upload(upload, exported)
        other.shows(texts)
        other.press("Settings")
        assert other.page.until(f"{most}?.value") == "16"
        assert other.page.until("document.querySelector('textarea[aria-label=\"System message\"]')?.value") == "简短回答。"


@pytest.mark.slow
def test_the_language_may_change_while_an_answer_is_written(chromium, server):
    with Visitor(chromium, server, "zh-CN") as visitor:
        visitor.sees(TEXTS["zh"]["disclaimer"])
        visitor.press("设置")
        visitor.set("温度", "0")
        visitor.set("回答的最大 token 数", "3000")
        visitor.page.press("Escape")
        visitor.type("头痛")
        visitor.page.until(f"{SAID}[1]?.length > 50")
        visitor.page.click("[...document.querySelectorAll('label')].find(e => e.innerText === 'English')")
        visitor.sees(TEXTS["en"]["disclaimer"])
        before = visitor.page.until(f"{SAID}[1]")
        visitor.page.until(f"{SAID}[1]?.length > {len(before)}")
        visitor.press("Stop")
        visitor.answered(2)
        assert visitor.said()[0] == "头痛" and visitor.said()[1].startswith(before)


@pytest.mark.slow
def test_a_phone(chromium, server):
    shown = "document.elementsFromPoint(187, %d).some(e => e.classList.contains('medllm-disclaimer'))"
    wide = "[...document.querySelectorAll('.stMain, .stMain *')].filter(e => e.getBoundingClientRect().right > 376).length"
    with Visitor(chromium, server, size=(375, 667)) as visitor:
        page = visitor.page
        for question in ("头痛三天", "血压高" * 60, "x" * 300):
            visitor.ask(question)
        assert page.run("document.documentElement.scrollWidth") == 375
        assert page.run("document.querySelector('.stMain').scrollWidth") <= 375
        assert page.run(wide) == 0
        main = "document.querySelector('.stMain')"
        assert page.run(f"{main}.scrollHeight > {main}.clientHeight + 400")
        for place in ("0", f"{main}.scrollHeight / 2", f"{main}.scrollHeight"):
            page.run(f"{main}.scrollTo(0, {place})")
            page.until(shown % 80)
        visitor.open_list()
        page.until(
            "[...document.querySelectorAll('.stSidebar .medllm-disclaimer')].some(e => e.getBoundingClientRect().y >= 0)"
        )
        assert page.run(button("New conversation") + ".getBoundingClientRect().right") <= 375


def test_two_visitors_never_see_each_other(visitor, chromium, server):
    with Visitor(chromium, server) as other:
        visitor.type("我的秘密是苹果")
        other.type("我的秘密是香蕉")
        visitor.answered(2)
        other.answered(2)
        mine, his = visitor.page.run("document.body.outerHTML"), other.page.run("document.body.outerHTML")
        assert "苹果" in mine and "苹果" not in his
        assert "香蕉" in his and "香蕉" not in mine
        other.page.reload()
        other.answered(2)
        assert "苹果" not in other.page.run("document.body.outerHTML + JSON.stringify(sessionStorage)")


@pytest.mark.slow
def test_a_reload_keeps_everything(visitor):
    visitor.ask("头痛三天")
    visitor.press("New conversation")
    visitor.sees("Ask your first question")
    long_answers(visitor)
    visitor.type("咳嗽")
    visitor.page.until(f"{SAID}.length === 2")
    visitor.page.reload()
    visitor.page.until("document.querySelector('.stForm textarea')?.value === '咳嗽'")
    visitor.press("头痛三天")
    visitor.answered(2)
    assert visitor.said()[0] == "头痛三天"
    visitor.page.run("sessionStorage.setItem('medllm', '{\"conversations\": [{\"messages\": 3}]}')")
    visitor.page.reload()
    visitor.sees("Ask your first question")
    assert visitor.ask("发热")


@pytest.mark.slow
def test_the_line_shows_the_place(chromium, tmp_path):
    """The model is slow enough that its first answer, of 3,000 tokens, lasts for minutes."""
    tiny_base(str(tmp_path / "source"), layers=8, hidden=512)
    convert(str(tmp_path / "source"), str(tmp_path / "base"))
    with (
        Server(str(tmp_path / "base"), *SHORT) as server,
        Visitor(chromium, server) as visitor,
        Visitor(chromium, server) as second,
        Visitor(chromium, server) as third,
    ):
        long_answers(visitor)
        visitor.type("头痛")
        visitor.page.until(f"{SAID}.length === 2")
        second.type("发热")
        second.sees("number 1 in line")
        third.type("咳嗽")
        third.sees("number 2 in line")
        second.press("Stop")
        second.page.until("document.querySelector('.stForm textarea')?.value === '发热'")
        third.sees("number 1 in line")
        visitor.press("Stop")
        third.answered(2)
        second.press("Send")
        second.answered(2)
        assert second.said()[0] == "发热" and third.said()[0] == "咳嗽"


def test_this_machine_alone_is_served(server):
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.2", server.port)):
        pass
    for host, origin, answer in (
        ("127.0.0.1", "127.0.0.1", b"HTTP/1.1 101"),
        ("evil.example", "evil.example", b"HTTP/1.1 403"),
        ("127.0.0.1", "evil.example", b"HTTP/1.1 403"),
    ):
        headers = {"Host": f"{host}:{server.port}", "Origin": f"http://{origin}:{server.port}", "Upgrade": "websocket"}
        headers |= {"Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="}
        lines = ["GET /_stcore/stream HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
            connection.sendall("\r\n".join(lines).encode())
            assert connection.recv(1000).startswith(answer), (host, origin)


@pytest.mark.slow
def test_a_server_that_is_killed_and_comes_back(tiny, chromium):
    with Server(str(tiny["base"]), *SHORT) as first, Visitor(chromium, first) as visitor:
        answer = visitor.ask("头痛三天")
        first.process.kill()
        first.process.wait()
        visitor.sees("Connection error")
        with Server(str(tiny["base"]), *SHORT, port=first.port):
            visitor.page.until("document.querySelector('.stApp').dataset.testConnectionState === 'CONNECTED'")
            visitor.page.reload()
            visitor.answered(2)
            visitor.ask("发热")
            assert visitor.said()[:3] == ["头痛三天", answer, "发热"]

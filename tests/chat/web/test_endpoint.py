"""The page before a scripted endpoint: markup stays text, errors are told, and many visitors get their answers."""

import json
from contextlib import ExitStack

import pytest
from support.browser import browser
from support.chat_server import Behaviour, ChatServer
from support.web_visits import SAID, Server, Visitor

MARKUP = (
    '<img src=x onerror="window.hacked=1"><script>window.hacked=2</script><iframe src="http://h.example/f"></iframe>\n'
    "![x](http://h.example/y.png) [k](javascript:window.hacked=3) **b** $x^2$ :material/home: `c`\n# d\n\n    e &lt;b&gt;"
)
MADE = "document.querySelectorAll('.medllm-said *, .medllm-error *, .medllm-title *, img[src=x], iframe, .katex').length"


def script(body: dict):
    question = body["messages"][-1]["content"]
    if "坏" in question:
        return Behaviour(400, {"error": {"message": MARKUP}})
    if "慢" in question:
        events = [{"choices": [{"delta": {"content": str(number)}}]} for number in range(100)]
        text = "".join(f"data: {json.dumps(event)}\n\n" for event in events)
        return Behaviour(200, text.encode(), {"Content-Type": "text/event-stream"}, trickle=0.0005)
    return MARKUP if "<img" in question else f"答：{question}"


@pytest.fixture(scope="module")
def endpoint():
    with ChatServer(script) as running:
        yield running


@pytest.fixture(scope="module")
def server(endpoint):
    with Server(f"{endpoint.url}#scripted", "--system", "简短。", "--top-p", "0.9") as running:
        yield running


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture
def visitor(chromium, server):
    with Visitor(chromium, server) as visitor:
        yield visitor


def test_markup_is_shown_and_not_run(visitor):
    visitor.click("document.querySelector('textarea[data-testid=stChatInputTextArea]')")
    visitor.page.type(MARKUP)
    visitor.page.press("Enter")
    visitor.shows([MARKUP, MARKUP])
    visitor.type("坏" + MARKUP[:40])
    visitor.sees("It failed: found scripted at")
    assert "<img src=x onerror=" in visitor.page.run("document.querySelector('.medllm-error').textContent")
    assert visitor.page.run(MADE) == 0
    assert visitor.page.run("window.hacked === undefined")
    # `Visitor` asserts at its end that nothing was asked of another host.


def test_an_endpoint_that_fails_leaves_the_question(visitor, endpoint):
    visitor.type("坏问题")
    visitor.sees("It failed: found scripted at")
    field = "document.querySelector('.stForm textarea')"
    visitor.page.until(f"{field}?.value === '坏问题'")
    visitor.click(field)
    visitor.page.run(f"{field}.select()")
    visitor.page.type("好问题")
    visitor.press("Send")
    visitor.shows(["好问题", "答：好问题"])
    sent = endpoint.requests[-1].body
    assert sent["messages"] == [{"role": "system", "content": "简短。"}, {"role": "user", "content": "好问题"}]
    assert sent["top_p"] == 0.9 and "temperature" not in sent


def test_a_setting_counts_for_the_question_sent_right_after_it(visitor, endpoint):
    """Both reach the server at once: the question cuts the run of the script short that would have taken the setting."""
    visitor.click("document.querySelector('textarea[data-testid=stChatInputTextArea]')")
    visitor.page.type("头痛")
    visitor.press("Settings")
    field = "[...document.querySelectorAll('input')].find(e => e.ariaLabel === 'Temperature')"
    visitor.click(field)
    visitor.page.type("0.5")
    visitor.page.press("Enter")
    visitor.page.run("document.querySelector('[data-testid=stChatInputSubmitButton]').click()")
    visitor.page.until(f"{SAID}[1] === '答：头痛'")
    assert endpoint.requests[-1].body["temperature"] == 0.5


@pytest.mark.slow
def test_an_answer_goes_on_while_another_conversation_is_shown(visitor):
    visitor.type("慢慢说")
    visitor.page.until(f"{SAID}[1]?.length > 3")
    visitor.page.click("[...document.querySelectorAll('button')].find(b => b.innerText.trim() === 'New conversation')")
    visitor.sees("Ask your first question")
    visitor.type("发热")
    visitor.page.until(f"{SAID}[1] === '答：发热'")
    visitor.page.click("[...document.querySelectorAll('.stSidebar button')].find(b => b.innerText.includes('慢慢说'))")
    visitor.shows(["慢慢说", "".join(map(str, range(100)))])


@pytest.mark.slow
def test_twenty_visitors_are_answered(chromium, tiny):
    with Server(str(tiny["base"]), "--temperature", "1", "--max-new-tokens", "100") as server, ExitStack() as leaving:
        visitors = [leaving.enter_context(Visitor(chromium, server, size=(375, 667))) for _ in range(20)]
        for number, visitor in enumerate(visitors):
            visitor.type(f"问题{number}号")
        for number, visitor in enumerate(visitors):
            visitor.answered(2)
            assert visitor.said()[0] == f"问题{number}号"
            html = visitor.page.run("document.body.outerHTML")
            assert [other for other in range(20) if f"问题{other}号" in html] == [number]

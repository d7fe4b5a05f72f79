"""The page of judge runs: every dialogue can be read in it, and nothing that anybody wrote becomes markup."""

import json

import pytest
from support.browser import browser
from support.chat_server import ChatServer
from support.judged_runs import asked_score, dialogue, judged, verdict, write

from medllm_hf.evaluation.commands.report import report
from medllm_hf.evaluation.judging.page import safe_json
from tests.evaluation.exams.test_page import Tags

NASTY = "</script><script>document.title='bad'</script>\"'><img src=x onerror=\"document.title='bad'\"> <!-- \u2028 &amp;"


def made(tmp_path, rows, **flags):
    """The folder of a report over a judge run on `rows`."""

    def script(body):
        return f"{NASTY}\n{verdict(asked_score(body), body)}" if "无分" not in str(body) else NASTY

    with ChatServer(script) as server:
        assert judged(server, write(tmp_path / "rows.jsonl", *rows), tmp_path / "run", failure_limit=1, **flags) == 0
    report([str(tmp_path / "run")], str(tmp_path / "out"))
    return tmp_path / "out"


def two_systems(count=6):
    first = [dialogue(i, 3 + i % 3, "a-7b", NASTY) for i in range(count)]
    return first + [dialogue(i, 4, "b-7b", "无分" if i == 1 else "") for i in range(1, count)]


def test_data_cannot_end_its_element():
    text = safe_json({"a": NASTY + "\u2029"})
    assert not set("<>&\u2028\u2029") & set(text) and json.loads(text) == {"a": NASTY + "\u2029"}


def test_nobodys_words_become_markup(tmp_path):
    rows = two_systems()
    rows += [{**dialogue(i, 4, NASTY), "group": NASTY, "case_id": NASTY, "source": NASTY} for i in range(2)]
    out = made(tmp_path, rows)
    page = Tags((out / "report.html").read_text(encoding="utf-8"))
    assert page.tags.count("script") == 2 and page.handlers == []
    assert all(source.startswith("data:") for source in page.sources)
    text = (out / "report.md").read_text(encoding="utf-8")
    assert "<script" not in text and "<img" not in text
    with browser(tmp_path / "profile") as chromium:
        chromium.open(out / "report.html")
        chromium.run(
            "for (const item of document.querySelectorAll('details')) item.open = true; new Promise(requestAnimationFrame)"
        )
        assert chromium.run("document.title") == "Consultations scored by a judge"
        assert chromium.run("document.querySelectorAll('#list script, #list img').length") == 0
        said = chromium.run("document.getElementById('list').textContent")
        assert said.count(NASTY) > 2 * len(rows)
        assert chromium.complaints() == []


SET = """(name, value) => {
  const field = document.getElementById("filter")[name];
  field.value = value;
  field.dispatchEvent(new Event("input", { bubbles: true }));
}"""
CASES = "[...document.querySelectorAll('#list summary')].map((one) => one.textContent.split(' · ').slice(0, 3))"


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """A function that sets the fields of the page of two systems and returns what it lists, and the page."""
    folder = tmp_path_factory.mktemp("page")
    out = made(folder, two_systems())
    with browser(folder / "profile") as chromium:
        chromium.open(out / "report.html")

        def listed(**fields):
            names = ("system", "beside", "group", "low", "high", "state", "words")
            for name in names:
                chromium.run(f"({SET})({json.dumps(name)}, {json.dumps(str(fields.get(name, '')))})")
            return chromium.run(CASES)

        yield listed, chromium


def test_filters_by_system_group_score_and_words(opened):
    listed, chromium = opened
    assert len(listed()) == 11 and "1 to 11 of 11" in chromium.run("document.getElementById('shown').textContent")
    assert {system for _, system, _ in listed(system=1)} == {"b-7b"} and len(listed(system=1)) == 5
    assert [case for case, _, _ in listed(system=0, group=1)] == ["own/1", "own/3", "own/5"]
    assert [case for case, _, _ in listed(system=0, low=5)] == ["own/2", "own/5"]
    assert [case for case, _, _ in listed(high=3.5)] == ["own/0", "own/3"]
    assert [case[:2] for case in listed(state="unscored")] == [["own/1", "b-7b"]]
    assert [case for case, _, _ in listed(system=0, words="头痛4天")] == ["own/4"]
    assert listed(words="没有这样的话") == []


def test_two_systems_stand_side_by_side(opened):
    listed, chromium = opened
    assert [case for case, _, _ in listed(system=0, beside=1, state="higher")] == ["own/2", "own/5"]
    assert [case for case, _, _ in listed(system=0, beside=1, state="lower")] == ["own/3"]
    listed(system=0, beside=1)
    open_all = "for (const item of document.querySelectorAll('details')) item.open = true; new Promise(requestAnimationFrame)"
    chromium.run(open_all)
    columns = "[...document.querySelectorAll('.sides')].map((one) => [...one.children].map((side) => side.innerText))"
    sides = chromium.run(columns)
    assert len(sides) == 6 and all(len(pair) == 2 for pair in sides)
    assert sides[0][1] == "no dialogue on this case" and "unscored: no verdict" in sides[1][1]
    assert sides[2][0].startswith("a-7b") and sides[2][1].startswith("b-7b")
    assert all("头痛2天" in side for side in sides[2]) and "overall 5" in sides[2][0] and "overall 4" in sides[2][1]
    assert "judge's reply" in sides[2][0] and "earlier reply, not usable" in sides[1][1]


@pytest.mark.slow
def test_ten_megabytes_of_dialogues_stay_usable(tmp_path):
    long = "医生建议您先休息并多喝水。" * 260
    out = made(tmp_path, [dialogue(i, 3 + i % 3, ("a-7b", "b-7b")[i // 520], long) for i in range(1040)], concurrency=16)
    assert (out / "report.html").stat().st_size > 10_000_000
    with browser(tmp_path / "profile") as chromium:
        chromium.open(out / "report.html")
        assert chromium.run("document.querySelectorAll('*').length") < 2000
        assert "1 to 50 of 1040" in chromium.run("document.getElementById('shown').textContent")
        chromium.run("document.getElementById('after').click()")
        assert "51 to 100 of 1040" in chromium.run("document.getElementById('shown').textContent")
        chromium.run(f"({SET})('words', '头痛777天')")
        assert [case for case, _, _ in chromium.run(CASES)] == ["own/777"]

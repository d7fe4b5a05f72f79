"""The report's HTML pages: every missed question is there, and nothing that a model wrote becomes markup."""

import json
import re
from html.parser import HTMLParser

from support.chat_server import ChatServer
from support.exam_runs import answered, as_shown, questions, reported, right_with, run_folder, two_runs

from medllm_hf.evaluation.commands.mcq import mcq
from medllm_hf.evaluation.exams import page as pages

NASTY = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)> ![x](http://e.example/x.png) | $a$ `c` _d_"


def scores(folder):
    return [json.loads(line) for line in (folder / "scores.jsonl").read_text(encoding="utf-8").splitlines()]


class Tags(HTMLParser):
    """Counts the tags of a page and keeps the text outside scripts."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.handlers, self.sources, self.texts = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.handlers += [name for name, _ in attributes if name.startswith("on")]
        self.sources += [value for name, value in attributes if name in ("src", "href")]

    def handle_data(self, data):
        self.texts.append(data)


def test_markup_is_shown_and_never_run(tmp_path):
    items = questions(8)
    items[0] |= {"question": NASTY, "subject": NASTY, "id": NASTY}
    items[0]["options"]["A"] = NASTY
    rows = answered(as_shown(items), lambda row: f"{NASTY} 无法判断")
    folder = run_folder(tmp_path / "<b onclick=x>", rows, mode="generate", model=NASTY, reply_prefix=NASTY)
    other = run_folder(tmp_path / "$x_1$", answered(as_shown(items), right_with(0.5, 1)), data={"licence": NASTY})
    _, text = reported(tmp_path, folder, other)
    page = Tags((tmp_path / "out" / "report.html").read_text(encoding="utf-8"))
    assert page.tags.count("script") == 1 and page.handlers == [] and "b" in page.tags
    assert "svg" in page.tags and "img" not in page.tags and page.sources == []
    shown = "".join(page.texts)
    assert shown.count(f"{NASTY} 无法判断") == 8 and "<b onclick=x>" in shown
    assert "<script" not in text and "![x]" not in text and "<img" not in text
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1, table


def test_the_page_holds_every_question_that_was_missed(tmp_path):
    weak, strong = two_runs(tmp_path)
    missed, known = set(), []
    for one, other in zip(scores(weak), scores(strong), strict=True):
        right = [row["prediction"] == row["reference"] for row in (one, other)]
        known += [one["id"]] * all(right)
        missed |= set() if all(right) else {one["id"]}
    silent = known[0]

    def write(row):
        return "这题我不会。\n" if row["id"] == silent else f"先想一想……\n故选{row['reference']}"

    writer = run_folder(tmp_path / "writer", answered(as_shown(questions(90)), write), mode="generate")
    reported(tmp_path, weak, strong, writer)
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    missed.add(silent)
    assert set(re.findall(r"exam\.jsonl · (q\d+)", text)) == missed and len(missed) < 90
    assert f"Questions 1 to {len(missed)} of {len(missed)}" in text
    assert text.count("<pre>这题我不会。\n</pre>") == 1
    assert re.findall(r'data-marks="(.)(.)u"', text) == [("r", "r")]


def test_many_questions_go_on_further_pages(tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "MOST_ITEMS", 40)
    rows = answered(as_shown(questions(130)), lambda row: "A" if row["reference"] != "A" else "B")
    reported(tmp_path, run_folder(tmp_path / "run", rows))
    names = ["report.html", "report-2.html", "report-3.html", "report-4.html"]
    texts = [(tmp_path / "out" / name).read_text(encoding="utf-8") for name in names]
    assert [len(re.findall('<details class="item"', text)) for text in texts] == [40, 40, 40, 10]
    assert "Questions 121 to 130 of 130" in texts[3] and all('href="report.html#items"' in text for text in texts[1:])
    assert sorted(path.name for path in (tmp_path / "out").glob("*.html")) == sorted(names)
    monkeypatch.setattr(pages, "MOST_LETTERS", 2000)
    long = answered(as_shown(questions(6)), lambda row: "想" * 1500)
    reported(tmp_path, run_folder(tmp_path / "long", long, mode="generate"), out="pages")
    assert len(list((tmp_path / "pages").glob("*.html"))) == 6


def test_the_second_answer_stands_below_the_reply_that_was_unread(tmp_path):
    """A reader of the page sees what was asked once more, and by what letters the finished accuracy counts it."""
    (tmp_path / "two.jsonl").write_text("\n".join(map(json.dumps, questions(2, kind="single", options=4))), encoding="utf-8")

    def script(body):
        return json.dumps({"answer": "C"}) if "response_format" in body else "说不好。"

    with ChatServer(script) as server:
        flags = {"url": f"{server.url}#m", "mode": "reply", "finish": "letters"}
        assert mcq(None, str(tmp_path / "two.jsonl"), str(tmp_path / "run"), **flags) == 0
    reported(tmp_path, tmp_path / "run")
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert text.count("<pre>说不好。</pre>") == text.count("asked once more: <span") == 2
    assert text.count("</span>, chose <b>C</b>") == 2 and "<pre>C</pre>" not in text, "letters alone are told once"


def test_a_tie_is_no_empty_reply(tmp_path):
    rows = answered(as_shown(questions(3)), lambda row: "")
    reported(tmp_path, run_folder(tmp_path / "tied", rows), run_folder(tmp_path / "mute", rows, mode="reply"))
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert text.count("no single best answer") == 3 == text.count("(empty reply)")

"""The pictures of judge runs: points on the whole scale, and a line only where there is an interval."""

import pytest

from medllm_hf.evaluation.judging.plots import criteria, draw, groups, radar
from medllm_hf.reporting.phrases import say
from medllm_hf.reporting.plotting import Lettering, shown_names, style


def system(name, intervals, withheld=False, **scores):
    means = {"proactivity": 5.0, "accuracy": 4.0, "overall": 4.5, **scores}
    ends = {key: [value - 0.5, value] if intervals else None for key, value in means.items()}
    rows = [{"group": group, "overall": 4.5, "intervals": {"overall": ends["overall"]}} for group in ("内科 & <外科>", "$x$")]
    return {"name": name, "withheld": withheld, **means, "intervals": ends, "groups": rows}


@pytest.fixture
def one():
    rubric = {"criteria": ["proactivity", "accuracy"], "low": 1.0, "high": 5.0}
    systems = [system("a", True), system("_b", False), system("模型", True, withheld=True)]
    return {"rubric": rubric, "systems": systems, "groups": ["内科 & <外科>", "$x$"]}


named = Lettering(lambda names, word: shown_names(names), lambda words: say(words, "en"))


def drawn(axes):
    """The means of each system that is drawn, and the length of each of its lines."""
    found = []
    for one in axes.containers:
        lines = [part for part in one.lines[2][0].get_segments() if len(part)]
        found.append((list(one.lines[0].get_xdata()), [float(part[1][0] - part[0][0]) for part in lines]))
    return found


def test_no_bar_begins_at_one_and_no_interval_is_a_point(one):
    with style([]):
        (axes,) = criteria(one, named).axes
    assert len(axes.patches) == 0
    low, high = axes.get_xlim()
    assert 0.5 < low < 1 and 5 < high < 5.5
    first, second, withheld = drawn(axes)
    assert first == ([5.0, 4.0, 4.5], [0.5, 0.5, 0.5])
    assert second == ([5.0, 4.0, 4.5], [])
    assert withheld == ([], [])
    with style([]):
        lines = (
            radar({**one, "rubric": one["rubric"] | {"criteria": ["proactivity", "accuracy", "overall"]}}, named).axes[0].lines
        )
    assert len(lines) == 2
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", " _b", "模型"]


def test_groups_have_their_names(one, tmp_path):
    with style([]):
        (axes,) = groups(one, named).axes
    assert [text.get_text() for text in axes.get_yticklabels()] == one["groups"]
    draw({"sets": [one]}, tmp_path)
    text = (tmp_path / "groups.svg").read_text(encoding="utf-8")
    assert ">内科 &amp; &lt;外科&gt;</text>" in text and ">$x$</text>" in text and ">模型</text>" in text
    assert (tmp_path / "criteria.png").is_file() and not (tmp_path / "radar.png").exists()

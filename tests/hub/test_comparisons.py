"""A comparison of two systems on the card and in the evidence: published, verified, and a forged figure found."""

import json
import re
import shutil
import sys

import pytest
from support.chat_server import ChatServer
from support.commands import run
from support.hub_on_disk import start_hub
from support.pair_judges import compared, preference
from support.paths import ROOT
from support.published_model import comparison, consultation, publish
from support.tampering import edited, manifest, metrics, outputs, put, removed, replaced, rows, scores

from medllm_hf.cli import main
from medllm_hf.errors import UserError

PAIR = "eval/pair"
HEAD = (
    "| run 评测 | first 甲 | second 乙 | judge 裁判模型 | rubric 量表 | win rate of the first 甲胜率 | 95% interval 区间 | "
    "wins 胜 | ties 平 | losses 负 | inconsistent 不一致 |"
)


@pytest.fixture(scope="module")
def whole(tiny, tmp_path_factory):
    """A published model with a judged consultation and a comparison of it, and the folder of its runs."""
    folder = tmp_path_factory.mktemp("compared")
    runs = [consultation(tiny["base"], folder), comparison(folder)]
    return publish(tiny["base"], folder / "repository", runs)


def verified(folder, capsys, whole):
    """The exit code and the lines of `medllm verify` with the cases at hand."""
    capsys.readouterr()
    code = main(["verify", str(folder), "--data", str(whole.parent / "cases.jsonl")])
    return code, capsys.readouterr().out.splitlines()


def test_the_card_tells_outcomes_judge_canaries_and_whose_dialogues_they_are_in_both_languages(whole):
    text = (whole / "README.md").read_text(encoding="utf-8").replace("\\", "")
    stored = json.loads((whole / PAIR / "metrics.json").read_text(encoding="utf-8"))
    overall = stored["criteria"]["overall"]
    assert overall["interval"] is None
    assert [overall[name] for name in ("wins", "ties", "losses", "inconsistent", "n")] == [0, 1, 1, 0, 2]
    row = "| pair | doctor-model (these weights, talk) | other-7b | pair-judge | disc-medllm-pair 1 zh | 25.0% | "
    row += "too few | 0 | 1 | 1 | 0 | 2 | 0 | 4 of 4 passed | proactivity 25.0% (too few), accuracy 25.0% ("
    assert HEAD in text and row in text
    assert "Ties, and cases on which the orders disagree, count half in the win rate." in text
    assert "成对比较：裁判模型对每个病例的两份对话按两种先后顺序各读一次。" in text and "已知优劣的对话对" in text
    assert re.search(r"^- `eval/pair`: `[0-9a-f]{64}`$", text, re.MULTILINE)
    assert sorted(path.name for path in (whole / PAIR).iterdir()) == [
        "manifest.json", "metrics.json", "outputs.jsonl", "scores.jsonl"]  # fmt: skip
    assert "type: win_rate" not in text, "a win rate is one against another system"


def test_every_figure_of_an_untouched_comparison_is_confirmed(whole, capsys):
    code, lines = verified(whole, capsys, whole)
    assert code == 0, [line for line in lines if not line.startswith("confirmed ")]
    for figure in (f"{PAIR}/metrics.json criteria", f"{PAIR}/metrics.json headline", 'README.md "| pair |', f"`{PAIR}`"):
        assert any(figure in line for line in lines), figure


TIES = json.dumps(dict.fromkeys(["proactivity", "accuracy", "helpfulness", "linguistic_quality", "overall"], "tie"))
FORGERIES = [
    ("a win rate on the card", replaced("README.md", "| 25.0% |", "| 75.0% |"), 'README.md "| pair'),
    ("counts on the card", replaced("README.md", "| 0 | 1 | 1 | 0 | 2 |", "| 1 | 1 | 0 | 0 | 2 |"), 'README.md "| pair'),
    ("canaries on the card", replaced("README.md", "4 of 4 passed", "5 of 5 passed"), 'README.md "| pair'),
    ("a claim beside the table", replaced("README.md", "## Data", "It wins 90% of its cases.\n\n## Data"), "README.md text"),
    (
        "a win rate",
        edited(f"{PAIR}/metrics.json", lambda found: found["headline"].update(win_rate=0.9)),
        f"{PAIR}/metrics.json",
    ),
    ("a figure more", metrics(PAIR, elo=1500), f"{PAIR}/metrics.json elo"),
    ("a verdict", outputs(PAIR, put(-1, reply=TIES)), f"{PAIR}/scores.jsonl: row 2"),
    ("a verdict on a canary", outputs(PAIR, put(2, reply=TIES)), f"{PAIR}/metrics.json headline"),
    ("an outcome", scores(PAIR, lambda found: found[1]["outcomes"].update(overall="win")), f"{PAIR}/scores.jsonl: row 2"),
    ("the other's name", manifest(PAIR, "systems", second="gpt-9"), f"{PAIR}/manifest.json systems.second"),
    ("the judge's name", manifest(PAIR, "judge", id="gpt-9"), 'README.md "| pair'),
    ("a record without a field", scores(PAIR, lambda found: found[0].pop("verdicts")), "no verdicts"),
    ("no comparison", removed(PAIR), "README.md text line"),
    ("no consultations", removed("eval/talk"), f"{PAIR}: no consultations under eval/ have the dialogues of either system"),
    (
        "consultations in other words",
        rows("eval/talk/dialogues.jsonl", lambda found: found[0]["turns"][1].update(content="好的")),
        f"{PAIR}: no consultations under eval/ have the dialogues of either system",
    ),
]


@pytest.mark.parametrize(("change", "named"), [one[1:] for one in FORGERIES], ids=[one[0] for one in FORGERIES])
def test_a_forgery_is_found_and_named(whole, tmp_path, capsys, change, named):
    shutil.copytree(whole, tmp_path / "repository")
    change(tmp_path / "repository")
    code, lines = verified(tmp_path / "repository", capsys, whole)
    wrong = [line for line in lines[:-1] if not line.startswith("confirmed ")]
    assert code == 1 and any(named in line for line in wrong), wrong


def test_a_comparison_of_other_systems_is_refused(whole, tiny, tmp_path):
    """Without the consultations nothing says that one of the systems is this model."""
    with pytest.raises(UserError, match="a comparison in .* of dialogues that no consultations beside it have"):
        publish(tiny["base"], tmp_path / "out", [whole.parent / "pair"])
    assert not (tmp_path / "out").exists()


def test_a_forged_comparison_is_not_published(whole, tiny, tmp_path):
    shutil.copytree(whole.parent / "pair", tmp_path / "pair")
    metrics("pair", headline=None)(tmp_path)
    with pytest.raises(UserError, match="eval/pair/metrics.json headline"):
        publish(tiny["base"], tmp_path / "out", [whole.parent / "talk", tmp_path / "pair"])


def test_a_judge_that_fails_a_canary_gives_no_figure_and_the_card_says_why(whole, tiny, tmp_path):
    with ChatServer(lambda body: preference("tie", body)) as server:
        sides = str(whole.parent / "talk"), str(whole.parent / "other.jsonl")
        assert compared(server, *sides, tmp_path / "ties") == 1  # without a headline
    out = publish(tiny["base"], tmp_path / "out", [whole.parent / "talk", tmp_path / "ties"])
    text = (out / "README.md").read_text(encoding="utf-8").replace("\\", "")
    assert "| none: the judge fails canary/empty: proactivity tie, " in text
    assert "| – | – | – | – | – | 2 | 0 | 1 of 4 passed | – |" in text


@pytest.mark.slow
def test_pushed_to_a_hub_and_verified_from_there(whole, tiny, tmp_path):
    hub = start_hub(tmp_path / "hub")
    try:
        environment = hub.environment(tmp_path / "home", "hf_write")
        runs = [word for name in ("talk", "pair") for word in ("--eval-run", str(whole.parent / name))]
        words = ("model", str(tiny["base"]), "--repo-id", "org/tiny-7b", "--license", "apache-2.0", *runs, "--yes")
        done = run(sys.executable, str(ROOT / "push_to_hub.py"), *words, "--out", str(tmp_path / "out"), env=environment)
        assert done.returncode == 0, done.stderr
        sent = hub.store.read("models", "org/tiny-7b", f"{PAIR}/metrics.json")
        assert sent == (whole.parent / "pair" / "metrics.json").read_bytes()
        data = str(whole.parent / "cases.jsonl")
        done = run("medllm", "verify", "org/tiny-7b", "--data", data, cwd=tmp_path, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"confirmed     {PAIR}/metrics.json headline" in done.stdout
        assert " confirmed, 0 different, 0 not derivable; " in done.stdout
    finally:
        hub.close()

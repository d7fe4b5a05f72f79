"""`medllm eval agree --calibrate`: a judge's means and a comparison's win rate, corrected by labels of some dialogues."""

import json
from pathlib import Path

import numpy
import pytest
from support.chat_server import ChatServer
from support.judged_runs import KEYS, asked_score, dialogue, judged, verdict, write
from support.pair_judges import CRITERIA, compared_run
from support.pair_judges import honest as honest_pair

from medllm_hf.cli import main
from medllm_hf.evaluation.statistics.calibration import Rated, calibrate

COUNT = 60
WORTH = [(2, 3, 4, 3, 2, 4, 3)[i % 7] for i in range(COUNT)]
# As many of either department.
DRAWN = [i for i in range(COUNT) if i % 4 < 2]
ROWS = [dialogue(i, WORTH[i]) for i in range(COUNT)]


def lenient(body: dict) -> str:
    """A judge that gives a point more than the dialogue is worth."""
    return verdict(min(5, asked_score(body) + 1) if "价值" in body["messages"][1]["content"] else 1, body)


@pytest.fixture(scope="module")
def lenient_run(tmp_path_factory):
    """A run of the lenient judge on sixty dialogues, one case each."""
    tmp = tmp_path_factory.mktemp("lenient")
    with ChatServer(lenient) as server:
        assert judged(server, write(tmp / "d.jsonl", *ROWS), tmp / "run") == 0
    return str(tmp / "run")


def labelled(numbers, annotator: str = "甲", more: int = 0, **fields) -> list[dict]:
    """Labels of what the dialogues are worth, and of every third one `more`."""
    return [
        {"id": ROWS[i]["id"], "annotator": annotator, **dict.fromkeys(KEYS, WORTH[i] + more * (i % 3 == 0)), **fields}
        for i in numbers
    ]


def calibrated(capsys, *words: str) -> tuple[dict, str, str]:
    """The calibration in agreement.json, the page and the screen of `medllm eval agree`."""
    capsys.readouterr()
    assert main(["eval", "agree", *words]) == 0
    out = Path(words[words.index("--out") + 1])
    found = json.loads((out / "agreement.json").read_text(encoding="utf-8"))
    return found, (out / "agreement.md").read_text(encoding="utf-8"), capsys.readouterr().out


def test_a_lenient_judge_is_corrected(lenient_run, tmp_path, capsys):
    rows = [{**row, "helpfulness": 3, "note": ""} for row in labelled(DRAWN, more=1)]
    file, out = write(tmp_path / "labels.jsonl", *rows), ("--out", str(tmp_path / "out"))
    found, page, said = calibrated(capsys, lenient_run, "--calibrate", file, *out)
    (row,) = found["calibration"]["rows"]
    assert (row["run"], row["system"]) == ("run", "doctor-7b")
    label = [WORTH[i] + (i % 3 == 0) if i in DRAWN else numpy.nan for i in range(COUNT)]
    own = calibrate(
        Rated(numpy.array(WORTH) + 1.0, numpy.array(label, dtype=float), [str(i) for i in range(COUNT)], {}, (1.0, 5.0))
    )
    accuracy = row["criteria"]["accuracy"]
    assert accuracy["calibrated"] == {"value": own.calibrated.value, "interval": list(own.calibrated.interval)}
    assert (accuracy["n"], accuracy["cases"], accuracy["dialogues"], accuracy["withheld"]) == (30, 30, 60, None)
    assert accuracy["judge"]["value"] == pytest.approx(4) and accuracy["calibrated"]["value"] == pytest.approx(3.33, abs=0.03)
    assert row["criteria"]["helpfulness"] == {
        "n": 30,
        "withheld": "30 of 30 labels are 3, and at least 5 others are needed to tell how far a mean may be off",
    }
    low, high = own.calibrated.interval
    assert (
        "| run | doctor-7b | accuracy | 30 | 30 | 60 | 4.00 (" in page and f"{own.calibrated.value:.2f} ({low:.2f} to" in page
    )
    assert "Not calibrated: run, doctor-7b, helpfulness: 30 of 30 labels are 3" in page and "Angelopoulos et al. 2023" in page
    assert "run, doctor-7b, overall: 3." in said and " calibrated with 30 labels of 60; uncalibrated 4.00 (" in said
    # They are compared with the judge too, and the same labels give the same figures again.
    assert (
        found["judge_human"][0]["criteria"]["accuracy"]["n"] == 30
        and len(found["calibration"]["labels"]["files"][0]["sha256"]) == 64
    )
    again, _, _ = calibrated(capsys, lenient_run, "--calibrate", file, *out, "--overwrite")
    assert again == found


def test_labels_of_several_annotators_count_once(lenient_run, tmp_path, capsys):
    both = [*labelled(range(24)), *labelled(range(12), "乙", more=1), *labelled(range(30, 36), "乙")]
    other = write(tmp_path / "other.jsonl", *labelled(range(40, 44), "丙"))
    words = ("--labels", other, "--calibrate", write(tmp_path / "both.jsonl", *both), "--out", str(tmp_path / "out"))
    found, page, _ = calibrated(capsys, lenient_run, *words)
    accuracy = found["calibration"]["rows"][0]["criteria"]["accuracy"]
    mean = (sum(WORTH[:24]) + sum(WORTH[30:36]) + 0.5 * 4) / 30
    assert accuracy["n"] == 30 and accuracy["labels"]["value"] == pytest.approx(mean)
    assert found["calibration"]["labels"]["annotators"] == {"甲": 24, "乙": 18}
    assert found["calibration"]["labels"]["by_several"] == 12 and "Labelled by two annotators or more: 12;" in page
    # What agreement is compared with stays what --labels names.
    assert [row["second"] for row in found["judge_human"]] == ["丙"]


def test_systems_are_calibrated_each_and_together(tmp_path, capsys):
    rows = [dialogue(i, WORTH[i], model) for model in ("a-7b", "b-7b") for i in range(40)]
    with ChatServer(lenient) as server:
        assert judged(server, write(tmp_path / "d.jsonl", *rows), tmp_path / "run") == 0
    labels = [
        {"id": f"{model}/{i}", "annotator": "甲", **dict.fromkeys(KEYS, WORTH[i])}
        for model, count in (("a-7b", 24), ("b-7b", 15))
        for i in range(count)
    ]
    words = (str(tmp_path / "run"), "--calibrate", write(tmp_path / "l.jsonl", *labels), "--out", str(tmp_path / "out"))
    found, page, said = calibrated(capsys, *words)
    first, second, every = found["calibration"]["rows"]
    assert [row["system"] for row in (first, second, every)] == ["a-7b", "b-7b", "all systems"]
    assert second["criteria"]["overall"] == {"n": 15, "withheld": "labels of 15 cases, and at least 20 are needed"}
    overall = every["criteria"]["overall"]
    assert (overall["n"], overall["cases"], overall["dialogues"]) == (39, 24, 80)
    assert "run, b-7b, overall: not calibrated, labels of 15 cases" in said and "| run | all systems | overall | 39 |" in page


def test_what_gives_no_calibration_is_refused(lenient_run, tmp_path, refused):
    def said(*rows) -> str:
        found = refused("eval", "agree", lenient_run, "--calibrate", write(tmp_path / "l.jsonl", *rows), "--out", str(out))
        assert not out.exists()
        return found

    out = tmp_path / "out"
    assert "labels for x and 0 more dialogues" in said({**labelled([1])[0], "id": "x"})
    few = said(*labelled(range(12)))
    assert "no figure that labels can calibrate: run, doctor-7b, proactivity: labels of 12 cases" in few
    assert "labels of 20 cases or more, drawn at random" in few
    low = [i for i in range(COUNT) if WORTH[i] < 4][:30]
    high = [i for i in range(COUNT) if WORTH[i] == 4]
    assert "chosen by the judge's score" in said(*labelled([*low[:6], *high], more=1))
    same = [{**row, **dict.fromkeys(KEYS, 4)} for row in labelled(range(30))]
    assert "30 of 30 labels are 4" in said(*same)
    others = labelled(range(30), turns=[{"role": "patient", "content": "咳嗽"}, {"role": "doctor", "content": "多久了？"}])
    assert "labels for other words of doctor-7b/0 and 29 more dialogues" in said(*others)


def test_labels_of_other_words_are_left_out(lenient_run, tmp_path, capsys):
    rows = [{**row, "turns": ROWS[i]["turns"]} for i, row in enumerate(labelled(range(30), more=1))]
    rows[4]["turns"] = [*ROWS[4]["turns"][:1], {"role": "doctor", "content": "价值4。再说一句。"}]
    words = (lenient_run, "--calibrate", write(tmp_path / "l.jsonl", *rows), "--out", str(tmp_path / "out"))
    found, page, _ = calibrated(capsys, *words)
    assert found["calibration"]["rows"][0]["criteria"]["accuracy"]["n"] == 29
    assert found["labels"]["other_words"] == ["doctor-7b/4"] and found["labels"]["unread_columns"] == []
    assert "Labels of other words than the runs have under the id, 1, left out: doctor-7b/4." in page
    assert found["judge_human"][0]["criteria"]["accuracy"]["n"] == 29


@pytest.fixture(scope="module")
def comparison(tmp_path_factory) -> str:
    """A comparison in which the first system wins where it is worth more than 3."""
    tmp = tmp_path_factory.mktemp("comparison")
    first = [dialogue(i, WORTH[i], "a-7b") for i in range(40)]
    compared_run(honest_pair, tmp, first, [dialogue(i, 3, "b-7b") for i in range(40)])
    return str(tmp / "pair")


def preferred(numbers, words=None) -> list[dict]:
    """Labels of pairs: what the judge says, but that a tie is a loss of the first system to the annotator."""
    outcome = {2: "second", 3: "second", 4: "first"} if words is None else words
    return [{"id": f"own/{i}", "annotator": "甲", **dict.fromkeys(CRITERIA, outcome[WORTH[i]])} for i in numbers]


def test_a_win_rate_is_corrected(comparison, tmp_path, capsys):
    words = ("--calibrate", write(tmp_path / "l.jsonl", *preferred(range(25))), "--out", str(tmp_path / "out"))
    found, page, said = calibrated(capsys, comparison, *words)
    (row,) = found["calibration"]["rows"]
    overall = row["criteria"]["overall"]
    assert row["system"] == "a-7b against b-7b" and set(row["criteria"]) == set(CRITERIA)
    rate = sum({2: 0, 3: 0.5, 4: 1}[one] for one in WORTH[:40]) / 40
    assert overall["judge"]["value"] == pytest.approx(rate)
    assert overall["labels"]["value"] == pytest.approx(sum(one == 4 for one in WORTH[:25]) / 25)
    assert overall["calibrated"]["value"] == pytest.approx(sum(one == 4 for one in WORTH[:40]) / 40, abs=0.02)
    assert 0 < overall["calibrated"]["interval"][0] < overall["calibrated"]["interval"][1] < rate
    assert "40 pairs of dialogues, of which 0 unscored" in page and "a-7b against b-7b, overall: 0.2" in said
    assert found["judge_human"][0]["criteria"]["overall"]["exact"] == pytest.approx(sum(one != 3 for one in WORTH[:25]) / 25)


def test_labels_of_pairs_are_words_and_are_not_compared_with_scores(comparison, lenient_run, tmp_path, refused, capsys):
    strange = preferred(range(25)) + preferred([30], dict.fromkeys((2, 3, 4), "a-7b"))
    words = ("--labels", write(tmp_path / "l.jsonl", *strange), "--out", str(tmp_path / "out"))
    found, _, _ = calibrated(capsys, comparison, *words)
    assert found["labels"]["bad_rows"] == [f"{tmp_path}/l.jsonl:26 proactivity: 'a-7b' is none of first, second, tie"]
    assert found["calibration"] is None
    said = refused("eval", "agree", comparison, lenient_run, "--out", str(tmp_path / "both"))
    assert "other criteria or another scale in run than in pair" in said

"""`medllm verify` on models that were made to look better: each forgery is told, none is merely confirmed."""

import shutil

import pytest
from support.forgeries import DECLARED, FORGERIES, UNEXAMINED
from support.published_model import exams, publish

from medllm_hf.cli import main
from medllm_hf.evaluation.verification.findings import STATES


@pytest.fixture(scope="module")
def whole(tiny, tmp_path_factory):
    """A published model with two exams, and the folder of their data."""
    folder = tmp_path_factory.mktemp("whole")
    told = {"base_model": "org/base", "benchmarks": ["exam=org/bench#task"], "section": "Contact: a colleague."}
    return publish(tiny["base"], folder / "repository", exams(tiny["base"], folder), **told)


def test_there_are_a_hundred_kinds_of_forgery():
    assert len({name for name, *_ in FORGERIES}) == len(FORGERIES) >= 100


# Each takes a second or more: the default suite has every fourth.
@pytest.mark.parametrize(
    ("change", "state", "named"),
    [
        pytest.param(*rest, id=name, marks=[pytest.mark.slow] * (number % 4 > 0))
        for number, (name, *rest) in enumerate(FORGERIES)
    ],
)
def test_a_forgery_is_told(whole, tmp_path, capsys, change, state, named):
    shutil.copytree(whole, tmp_path / "repository")
    change(tmp_path / "repository")
    capsys.readouterr()
    code = main(["verify", str(tmp_path / "repository"), "--data", str(whole.parent / "eight.jsonl")])
    *lines, summary, proves = capsys.readouterr().out.split("\n")[:-1]
    assert all(line.startswith(STATES) for line in lines) and summary.startswith(str(tmp_path)) and proves, lines
    assert all(line.isprintable() for line in lines), lines
    told = [line for line in lines if line.startswith(state) and named in line]
    assert told, [line for line in lines if not line.startswith("confirmed")]
    different = any(line.startswith(("different ", "not derivable ")) for line in lines)
    harmless = not different and (state == DECLARED or (state == UNEXAMINED and told[0].endswith("nothing is derived from it")))
    assert code == (0 if harmless else 1)

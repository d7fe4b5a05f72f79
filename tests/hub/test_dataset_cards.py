"""The dataset cards: metadata the Hub takes, a licence each, and the same facts as the code and the files."""

import re

import pytest
from support.paths import ROOT, SAMPLE

from medllm_hf.data.benchmarks.catalogue import BENCHMARKS
from medllm_hf.data.benchmarks.read import check_card
from medllm_hf.data.mcq import chance_level, load_items
from medllm_hf.errors import UserError

CARDS = sorted(set((ROOT / "dataset_cards").glob("*.md")) - {ROOT / "dataset_cards" / "dialogues.md"})  # a template


def test_every_benchmark_has_a_card_that_says_the_same():
    for benchmark in BENCHMARKS.values():
        text = (ROOT / "dataset_cards" / benchmark.card).read_text(encoding="utf-8")
        assert check_card(text).license == benchmark.licence
        for stated in (benchmark.source, benchmark.hub, benchmark.revision, benchmark.archive, benchmark.answers):
            assert stated is None or stated in text, (benchmark.card, stated)


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.name)
def test_cards(path):
    text = path.read_text(encoding="utf-8")
    data = check_card(text)
    assert data.to_dict()["license"] == data.license
    assert data.language and set(data.language) <= {"zh", "en"}
    assert [size for size in data.size_categories if re.fullmatch(r"n<1K|1K<n<10K|10K<n<100K|100K<n<1M", size)]
    assert data.pretty_name and data.task_categories and "medical" in data.tags
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    for heading in ("Licence", "How to get it", "Rows and splits", "Known problems"):
        assert heading in headings
    assert ("Chance level" in headings) == (path.name != "disc-med-sft.md")
    table = text.split("## Rows and splits")[1].split("##")[0]
    assert re.search(r"\| split \| file \| \w+ \|\n\|(?:---\|)+\n\| .*(?:\d|not verified)", table)


def test_the_samples_card_counts_what_is_there():
    text = (ROOT / "dataset_cards" / "sample.md").read_text(encoding="utf-8")
    for name in ("dialogues", "questions_train", "questions_test"):
        rows = len((SAMPLE / f"{name}.jsonl").read_text(encoding="utf-8").splitlines())
        assert re.search(rf"`{name}\.jsonl` \| {rows} \|", text)
    assert f"{100 * chance_level(load_items(str(SAMPLE / 'questions_test.jsonl'))):.1f}% on the test questions" in text


@pytest.mark.parametrize(
    "text",
    [
        *(
            "# no front matter",
            "---\nlanguage: zh\n---\n",
            "---\nlicense:\n---\n",
            "---\nlicense: ''\n---\n",
            "---\nlicense: []\n---\n",
        ),
        *(
            "---\nlicense: {license}\n---\n",
            "---\nlicense: Apache 2.0\n---\n",
            "---\n- license\n---\n",
            "---\nlicense: [\n---\n",
        ),
        (ROOT / "dataset_cards" / "dialogues.md").read_text(encoding="utf-8"),
    ],
)
def test_a_card_without_a_licence_is_refused(text):
    with pytest.raises(UserError, match="dataset card"):
        check_card(text)

"""The exam benchmarks by name: who publishes each, under which licence, in which files, and the pinned copy on the Hub."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from medllm_hf.data.benchmarks import rows


@dataclass(frozen=True)
class Pin:
    """How many questions a split has, and `questions_hash` of them in their order, as somebody here has read them."""

    n: int
    sha256: str


@dataclass(frozen=True)
class Benchmark:
    """Where a benchmark is published and how its files are read.

    `splits` names the files of each split; "a|b" is the first of a and b that is there. Few-shot examples come from "dev".
    `hub` and `revision` pin a copy on the Hub, `archive` is the zip file that the publisher puts the files in, and `answers`
    the file of id and answer that a test split without answers needs. `card` is a file of `dataset_cards/`. Where
    `dev_is_rest`, the dev files hold the test questions too, and the dev split is what is left without them. `pins` has the
    splits by which a run is known to be of the whole benchmark.
    """

    title: str
    source: str
    licence: str
    card: str
    row: Callable[[dict, Path], dict]
    splits: dict[str, tuple[str, ...]]
    hub: str | None = None
    revision: str | None = None
    archive: str | None = None
    answers: str | None = None
    dev_is_rest: bool = False
    pins: Mapping[str, Pin] = field(default_factory=dict)


def _subjects(names: Iterable[str], *patterns: str) -> tuple[str, ...]:
    return tuple("|".join(pattern.format(name) for pattern in patterns) for name in names)


def _mlec(subset: str) -> Benchmark:
    return Benchmark(
        title=f"MLEC-QA {subset}",
        source="https://github.com/Judenpech/MLEC-QA",
        licence="mit",
        card="mlec-qa.md",
        row=rows.mlec_qa,
        splits={split: (f"{subset}_{split}.json",) for split in ("train", "dev", "test")},
    )


CEVAL_SUBJECTS = ("basic_medicine", "clinical_medicine", "physician")
# The seven that the evaluation of Apollo takes as medical: https://github.com/FreedomIntelligence/Apollo
CMMLU_SUBJECTS = (
    *("anatomy", "clinical_knowledge", "college_medicine", "genetics", "nutrition"),
    *("traditional_chinese_medicine", "virology"),
)

BENCHMARKS: dict[str, Benchmark] = {
    "mlec-qa/clinic": _mlec("Clinic"),
    "mlec-qa/cwm": _mlec("CWM"),
    "mlec-qa/publichealth": _mlec("PublicHealth"),
    "mlec-qa/stomatology": _mlec("Stomatology"),
    "mlec-qa/tcm": _mlec("TCM"),
    "cmexam": Benchmark(
        title="CMExam",
        source="https://github.com/williamliujl/CMExam",
        licence="apache-2.0",
        card="cmexam.md",
        row=rows.cmexam,
        splits={
            "train": ("train.csv|train.json",),
            "dev": ("val.csv|valid.json",),
            "test": ("test_with_annotations.csv|test.json",),
        },
        hub="fzkuji/CMExam",
        revision="a4aaeb2d9bc021bb358f45803776f5fe6a06ebe9",
    ),
    "cmb": Benchmark(
        title="CMB-Exam",
        source="https://github.com/FreedomIntelligence/CMB",
        licence="apache-2.0",
        card="cmb-exam.md",
        row=rows.cmb,
        splits={
            "train": ("CMB-train-merge.json",),
            "dev": ("CMB-val-merge.json",),
            "test": ("CMB-test-choice-question-merge.json",),
        },
        hub="FreedomIntelligence/CMB",
        revision="68fe27d016b5fa2f37ed8a06e8540deb173d3264",
        archive="CMB.zip",
        answers="CMB-test-choice-answer.json",
    ),
    "medqa-mainland": Benchmark(
        title="MedQA Mainland China",
        source="https://github.com/jind11/MedQA",
        licence="mit",
        card="medqa-mainland.md",
        row=rows.medqa,
        splits={split: (f"Mainland/{split}.jsonl",) for split in ("train", "dev", "test")},
        hub="bigbio/med_qa",
        revision="ddef95d268cdad413693d634279a9a679d468469",
        archive="data_clean.zip",
    ),
    "ceval-medical": Benchmark(
        title="C-Eval, medical subjects",
        source="https://github.com/hkust-nlp/ceval",
        licence="cc-by-nc-sa-4.0",
        card="ceval-medical.md",
        row=rows.ceval,
        splits={
            split: _subjects(CEVAL_SUBJECTS, f"{{}}/{split}-*.parquet", f"{split}/{{}}_{split}.csv")
            for split in ("dev", "val", "test")
        },
        hub="ceval/ceval-exam",
        revision="617524a00b307ff6f9933702f724131fe12ca7ce",
        archive="ceval-exam.zip",
    ),
    "cmmlu-medical": Benchmark(
        title="CMMLU, medical subjects",
        source="https://github.com/haonan-li/CMMLU",
        licence="cc-by-nc-sa-4.0",
        card="cmmlu-medical.md",
        row=rows.cmmlu,
        splits={split: _subjects(CMMLU_SUBJECTS, f"{split}/{{}}.csv") for split in ("dev", "test")},
        hub="haonan-li/cmmlu",
        revision="efcc940752ea4a1ea94d2727f11f83858d64fc8e",
        archive="cmmlu_v1_0_1.zip",
        pins={
            "dev": Pin(35, "374470e00a980f7b998b83ba10ecba7c10c07a9e3d2d059082f0243878e534ea"),
            "test": Pin(1333, "16cba0d1ac3f00143474cb62c19b8f1a8c031b6149338654ad8f54553b50fed5"),
        },
    ),
    "medmcqa": Benchmark(
        title="MedMCQA",
        source="https://github.com/medmcqa/medmcqa",
        licence="apache-2.0",
        card="medmcqa.md",
        row=rows.medmcqa,
        # The answers of the published test split are secret: the validation split is the one that is scored.
        splits={"dev": ("train-*.parquet|train.json",), "test": ("validation-*.parquet|dev.json",)},
        hub="openlifescienceai/medmcqa",
        revision="91c6572c454088bf71b679ad90aa8dffcd0d5868",
    ),
    "cnmleqa": Benchmark(
        title="CNMLEQA",
        source="https://zenodo.org/records/18951465",
        licence="cc-by-4.0",
        card="cnmleqa.md",
        row=rows.cnmleqa,
        splits={"dev": ("CNMLEQA-10k.json",), "test": ("CNMLEQA-3k.json",)},
        dev_is_rest=True,
        pins={"test": Pin(2949, "cf3be81c6d38a5e038dd18a1f058c2428ce3960015984c827b67068432e997cd")},
    ),
    "neep306": Benchmark(
        title="NEEP 306",
        source="https://github.com/FudanDISC/DISC-MedLLM",
        licence="unknown",
        card="neep306.md",
        row=rows.plain,
        splits={"dev": _subjects(["2019"], "{}.jsonl", "{}.json", "{}.csv"),
                "test": _subjects(["2020", "2021"], "{}.jsonl", "{}.json", "{}.csv")},
    ),
}  # fmt: skip

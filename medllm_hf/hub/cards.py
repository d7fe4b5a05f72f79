"""The model card: Hub metadata and text in English and Chinese, filled from the files of the repository folder alone."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from medllm_hf.errors import UserError
from medllm_hf.evaluation.runs.folder import combined_hash
from medllm_hf.folders import LARGEST, check_file, read_json, sha256
from medllm_hf.hub.card_facts import model_lines, provenance_facts, stored_numbers, training_lines, versions_text
from medllm_hf.hub.licences import Terms, terms_of
from medllm_hf.hub.results import FOLDER, model_index, tables
from medllm_hf.hub.runs import BASE, log_words, run_folders
from medllm_hf.hub.samples import sample_lines

DATASETS = "datasets"
# Between these lines stand the publisher's own words, which are kept and not compared.
SECTION_BEGINS, SECTION_ENDS = "<!-- own words of the publisher -->", "<!-- end of the own words -->"
# What no card may leave out.
WARNING = (
    "**Not a medical device. Its answers do not replace a doctor's diagnosis. 本模型不是医疗器械，回答不能代替医生的诊断。**"
)


@dataclass(frozen=True)
class About:
    """What only the publisher knows of a model: its name and licence on the Hub, the base's and the datasets' Hub ids.

    `section` is Markdown in the publisher's own words, which stands between marks; `metadata` are further keys of the card,
    with further tags under "tags".
    """

    repo_id: str
    license: str
    base_model: str | None = None
    datasets: tuple[str, ...] = ()
    section: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


def model_card(folder: Path, about: About, runs: list[dict], stored: Mapping[str, int] | None = None) -> ModelCard:
    """The card of the repository folder `folder`; the same files give the same card.

    Args:
        runs: see `runs.published`; their metrics are the card's figures.
        stored: see `card_facts.stored_numbers`; None where the weights lie in the folder.
    """
    config, generation = read_json(folder / "config.json"), _object(folder / "generation_config.json")
    provenance = _object(folder / "provenance.json")
    terms, (organisation, name) = terms_of(about.base_model, provenance), about.repo_id.split("/")
    return ModelCard.from_template(
        _metadata(about, terms, model_index(runs)),
        template_path=str(files("medllm_hf") / "hub" / "model_card.md"),
        repo_id=about.repo_id,
        organisation=organisation,
        name=name,
        base_model=about.base_model,
        license=about.license,
        licence_file=next((file.name for file in sorted(folder.glob("LICENSE*"))), None),
        terms=terms,
        datasets="\n".join(line for one in about.datasets for line in dataset_lines(folder, one)),
        results="\n".join(tables(runs, about.base_model)),
        evidence="\n".join(evidence_lines(folder)),
        facts="\n".join(model_lines(config, generation, stored if stored is not None else stored_numbers(folder))),
        made="\n".join([*provenance_facts(provenance), *_environment(runs)]),
        samples="\n".join(sample_lines(folder)),
        warning=WARNING,
        section=f"{SECTION_BEGINS}\n{about.section}\n{SECTION_ENDS}\n" if about.section is not None else None,
        training="\n".join(training_lines(_object(folder / "training.json"), provenance)),
    )


def _metadata(about: About, terms: Terms | None, results: list[EvalResult]) -> ModelCardData:
    return ModelCardData(
        language=["zh"],
        license=about.license,
        license_name=terms.name if terms else None,
        license_link=terms.link if terms else None,
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["medical", "conversational", "medllm_hf", *about.metadata.get("tags", ())],
        base_model=about.base_model,
        datasets=list(about.datasets) or None,
        model_name=about.repo_id.split("/")[-1] if results else None,
        eval_results=results or None,
        **{key: value for key, value in about.metadata.items() if key != "tags"},
    )


def own_words(text: str) -> str | None:
    """What stands between the marks of the publisher's own words in a card; None where there are none."""
    section = re.search(rf"^{re.escape(SECTION_BEGINS)}\n(.*?)\n{re.escape(SECTION_ENDS)}$", text, re.S | re.M)
    return section[1] if section else None


def _object(file: Path) -> dict:
    return read_json(file) if file.exists() else {}


def _environment(runs: list[dict]) -> list[str]:
    said = {versions_text(run["manifest"].get("versions", {})): None for run in runs}
    return [f"- evaluated with 评测环境: {versions}" for versions in said if versions]


def dataset_file(folder: Path, dataset: str) -> Path:
    """Where the repository keeps a copy of a dataset's card."""
    return folder / DATASETS / f"{dataset.replace('/', '--')}.md"


def dataset_lines(folder: Path, dataset: str) -> list[str]:
    """What the card says of a dataset: its link, and licence and screening as the copy of its own card tells them.

    Raises:
        UserError: the copy is no dataset card.
    """
    lines, file = [f"- [{dataset}](https://huggingface.co/datasets/{dataset})"], dataset_file(folder, dataset)
    if not file.exists():
        return lines
    text = file.read_text(encoding="utf-8")
    head = re.match(r"---\n(.*?)\n---\n", text, re.S)
    metadata = yaml.safe_load(head[1]) if head else None
    if not isinstance(metadata, dict):
        raise UserError(f"{file.name} without metadata", "the card of a dataset", "build it with `medllm data build`")
    lines[0] += f", licence 许可 {metadata.get('license')}; the card as it was 当时的说明: `{DATASETS}/{file.name}`"
    screening = re.search(r"^## Screening\n(.*?)(?=^## |\Z)", text, re.S | re.M)
    found = re.findall(r"^- (.+)$", screening[1], re.M) if screening else []
    return [*lines, *(f"  - {line}" for line in found)]


def evidence_lines(folder: Path) -> list[str]:
    """The hash of each run's files, and of each file of `.eval_results`."""
    of_runs = [(of, run) for of in ("eval", BASE) for run in run_folders(folder, of)]
    lines = [f"- `{of}/{run.name}`: `{evidence_hash(run)}`{log_words(run)}" for of, run in of_runs]
    return lines + [f"- `{FOLDER}/{file.name}`: `{sha256(file)}`" for file in sorted((folder / FOLDER).glob("*.yaml"))]


def evidence_hash(folder: Path) -> str:
    """One SHA-256 over the names and hashes of a run's files, those of a run inside it too.

    Raises:
        UserError: a file that is larger than a run's may be.
    """
    files = {file.relative_to(folder).as_posix(): file for file in folder.rglob("*") if file.is_file()}
    for file in files.values():
        if (size := check_file(file)) > LARGEST:
            raise UserError(f"{file} of {size:,} bytes", f"at most {LARGEST:,}", "publish a run's own files")
    return combined_hash({name: sha256(file) for name, file in files.items()})

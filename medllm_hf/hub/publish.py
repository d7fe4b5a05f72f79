"""Model folder → checked, complete repository folder for the Hub."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from medllm_hf.checkpoint.training_record import RECORD, training_record
from medllm_hf.errors import UserError, first_line
from medllm_hf.evaluation.runs.behaviour import BEHAVIOUR
from medllm_hf.evaluation.runs.folder import FinishedRun, read_run, weights_hash
from medllm_hf.evaluation.runs.log import count_runs
from medllm_hf.evaluation.runs.names import distinct_names, nested_runs
from medllm_hf.evaluation.verification.dialogues import held_by
from medllm_hf.folders import check_apart, check_free, new_folder, read_json, write_json
from medllm_hf.hub.behaviour_files import check_behaviour
from medllm_hf.hub.cards import About, dataset_file, model_card
from medllm_hf.hub.checks import check_repository
from medllm_hf.hub.exam_tables import check_base_runs
from medllm_hf.hub.licences import check_licence, terms_of
from medllm_hf.hub.repository import check_name
from medllm_hf.hub.results import parse_benchmark, write_entry
from medllm_hf.hub.runs import BASE, DIALOGUES, IN_LOG, JUDGE, RUN_FILES, consultations_in, published
from medllm_hf.hub.samples import write_samples
from medllm_hf.pretrained import check_known, check_weights, load_config, load_tokenizer
from medllm_hf.vocabulary import check_ids
from medllm_hf.weight_files import INDEX_FILE, check_regular, header_shapes, published_files, read_provenance, weight_files

# The index of the weights is among `published_files`.
MODEL_FILES = (*(name for name in BEHAVIOUR if name != INDEX_FILE), "provenance.json", "LICENSE*")


def publish_model(
    path: str,
    repo_id: str,
    runs: list[str],
    license: str,
    base_model: str | None,
    out: str,
    overwrite: bool,
    datasets: Sequence[str] = (),
    benchmarks: Sequence[str] = (),
    section: str | None = None,
    base_runs: Sequence[str] = (),
    samples: bool = False,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Writes the repository folder `out`: weights, tokenizer, template, generation config, card and evidence. Uploads nothing.

    Args:
        datasets: ORG/NAME of what the model was trained on, or ORG/NAME=FOLDER with the folder of `medllm data build`, whose
            licence and screening the card then tells.
        section, metadata: Markdown in the publisher's own words, and further metadata, for the card; see `About`.
        base_runs: exams of the base model on the same questions by the same settings.
        samples: ask the model for the card's sample dialogues.
        benchmarks: RUN=ORG/DATASET#TASK for each run on a benchmark that the Hub has registered.

    Raises:
        UserError: see `check_files`, `check_model`, `check_runs`, `check_licence` and `check_repository`; or no such names.
    """
    check_apart(out, [path, *runs, *base_runs, *(name.partition("=")[2] for name in datasets)])
    check_free(out, overwrite)
    check_name(repo_id)
    model = Path(path)
    shards = check_files(model)
    check_model(model, shards)
    read, before = check_runs(model, runs), read_base_runs(model, base_runs)
    check_base_runs([*map(dict, read), *({**run, "of_base": True} for run in before)])
    about = About(repo_id, license, base_model, tuple(one.partition("=")[0] for one in datasets), section, metadata or {})
    check_licence(license, terms_of(base_model, read_provenance(model)))
    with new_folder(out, overwrite) as folder:
        for file in [*published_files(model), *(file for pattern in MODEL_FILES for file in sorted(model.glob(pattern)))]:
            shutil.copyfile(file, folder / file.name)
        copy_beside(folder, model, {"eval": read, BASE: before}, datasets)
        if samples:
            write_samples(folder)
        found = published(folder)
        for text in benchmarks:
            entry, dataset, task = parse_benchmark(text, found)
            write_entry(folder, entry, repo_id, dataset, task)
        model_card(folder, about, found).save(folder / "README.md")
        check_repository(folder)


def copy_beside(folder: Path, model: Path, runs: Mapping[str, Sequence[FinishedRun]], datasets: Sequence[str]) -> None:
    """Writes what the card tells of beside the weights: runs by the folder for them, the training's record, datasets' cards.

    Raises:
        UserError: see `copy_dataset_card`.
    """
    for inner, read in runs.items():
        for run, name in zip(read, evidence_names(read), strict=True):
            copy_run(run["folder"], folder / inner / name)
            declare_count(run, folder / inner / name)
    if record := training_record(model):
        write_json(folder / RECORD, record)
    for dataset in datasets:
        copy_dataset_card(dataset, folder)


def copy_run(run: Path, evidence: Path) -> None:
    """Copies the files of a run, with the dialogues of consultations and the judge's run in it."""
    evidence.mkdir(parents=True)
    for name in (*RUN_FILES, DIALOGUES):
        if (run / name).exists():
            shutil.copyfile(run / name, evidence / name)
    if (run / JUDGE / "manifest.json").exists():
        copy_run(run / JUDGE, evidence / JUDGE)


def declare_count(run: FinishedRun, evidence: Path) -> None:
    """Writes into the published manifest of a run how many runs of these weights on this benchmark the publisher's log has."""
    if count := count_runs(run["folder"], run["manifest"]):
        write_json(evidence / "manifest.json", {**run["manifest"], IN_LOG: count})


def copy_dataset_card(text: str, folder: Path) -> None:
    """Copies the card of the dataset ORG/NAME=FOLDER into the repository folder; without FOLDER there is none.

    Raises:
        UserError: no such name, or no card there.
    """
    name, _, built = text.partition("=")
    check_name(name)
    if not built:
        return
    card = Path(built) / "README.md"
    if not card.is_file():
        raise UserError(f"no README.md in {built}", "a folder of `medllm data build`", "check --dataset")
    target = dataset_file(folder, name)
    target.parent.mkdir(exist_ok=True)
    shutil.copyfile(card, target)


def check_files(model: Path) -> list[Path]:
    """The weight files of a model whose files, as far as they are read without torch, may be published.

    Raises:
        UserError: no safetensors, an adapter, no tokenizer.json, or a file that cannot be read.
    """
    if (model / "adapter_config.json").exists():
        raise UserError(f"an adapter in {model}", "full weights", "run `medllm merge` first, or add --adapter")
    read_json(model / "config.json")
    check_regular(model)
    for name in MODEL_FILES:  # some are read by those alone who load the model from the Hub
        if name.endswith(".json") and (model / name).exists():
            read_json(model / name)
    shards = weight_files(model)
    if any(shard.suffix != ".safetensors" for shard in shards):
        raise UserError(f"no .safetensors in {model}", "weights that cannot run code", "save or convert them as safetensors")
    # From tokenizer.model alone transformers makes a tokenizer too, which need not be the one of the training.
    if not (model / "tokenizer.json").is_file():
        raise UserError(f"no tokenizer.json in {model}", "the model's tokenizer", "copy it there")
    check_known(model)
    return shards


def check_model(model: Path, shards: list[Path]) -> None:
    """Check that a model with these weight files, which `check_files` gave, may be published.

    Raises:
        UserError: an empty or non-finite tensor, no template, a tokenizer whose ids or end token do not fit the model, or
            weights that do not fit its config.json; or see `check_behaviour`.
    """
    check_behaviour(model)
    check_weights(model, header_shapes(shards))
    for shard in shards:
        check_tensors(shard)
    tokenizer = load_tokenizer(model, chat=True)
    if tokenizer.eos_token_id is None:
        raise UserError(f"a tokenizer without an end token in {model}", "a tokenizer of this model", "copy the base's there")
    check_ids(tokenizer, load_config(model), model)


def check_tensors(shard: Path) -> None:
    """Check that every tensor of the file has elements and all are finite.

    Raises:
        UserError: otherwise, or when the file is damaged.
    """
    try:
        with safe_open(shard, framework="pt") as tensors:
            for name in tensors.keys():
                tensor = tensors.get_tensor(name)
                if not tensor.numel() or not tensor.isfinite().all():
                    raise UserError(f"an empty tensor, NaN or infinity in {name}", "finite weights", "train or convert again")
    except (SafetensorError, RuntimeError) as error:  # the latter of types without an isfinite
        raise UserError(f"damaged {shard} ({first_line(error)})", "a whole safetensors file", "save it again") from error


def evidence_names(runs: Sequence[FinishedRun]) -> list[str]:
    """What the folder of each run is called under `eval/`: as its own, after that of its benchmark where another has that.

    Raises:
        UserError: two of one name, or one run twice.
    """
    names = [name.replace("/", "-") for name in distinct_names([str(run["folder"]) for run in runs])]
    if len(set(names)) < len(names):
        raise UserError("two runs of one folder name", "a name of its own for each", "rename one")
    return names


def check_runs(model: Path, runs: list[str]) -> list[FinishedRun]:
    """The runs, each of them made with these very weights; of a comparison, one side.

    A folder of several readings or benchmarks stands for all the runs in it.

    Raises:
        UserError: a run of other weights, of another kind or of a part of the questions, a comparison of which no side is this
            model, or two of one name.
    """
    read = [read_run(inner) for run in runs for inner in nested_runs(run)]
    evidence_names(read)
    digest = weights_hash(model)
    held = consultations_in(run["folder"] for run in read)
    for run in read:
        if run["manifest"].get("kind") == "pair":
            if not held_by(run, held):
                found = f"a comparison in {run['folder']} of dialogues that no consultations beside it have"
                raise UserError(found, "this model as one of the systems", "add --eval-run with its consultations")
            continue
        # A consultation examines the doctor.
        side = {"mcq": "model", "consult": "doctor"}.get(str(run["manifest"].get("kind")))
        if side is None:
            found = f"a run of kind {run['manifest'].get('kind')} in {run['folder']}"
            do = "name the consultations that were judged"
            raise UserError(found, "a run of `eval mcq`, `eval consult` or `eval pair`", do)
        if "of" in (data := run["manifest"].get("data", {})):
            found = f"{run['folder']}, limited to {data['n']} of {data['of']} questions"
            raise UserError(found, "a run of all questions", "run `medllm eval mcq` without --limit")
        if run["manifest"][side].get("weights_sha256") != digest:
            raise UserError(f"{run['folder']} of other weights", f"a run of {model}", "evaluate this model")
    return read


def read_base_runs(model: Path, runs: Sequence[str]) -> list[FinishedRun]:
    """The exams of the base of `model`; a folder of several readings or benchmarks stands for all the runs in it.

    Raises:
        UserError: a run of another kind, or of this very model.
    """
    read = [read_run(inner) for run in runs for inner in nested_runs(run)]
    digest = weights_hash(model) if read else None
    for run in read:
        if (kind := run["manifest"].get("kind")) != "mcq":
            raise UserError(f"a run of kind {kind} in {run['folder']}", "an exam of the base model", "leave it out")
        if run["manifest"]["model"].get("weights_sha256") == digest:
            raise UserError(f"--base-run {run['folder']} of this very model", "a run of its base", "name it with --eval-run")
    return read

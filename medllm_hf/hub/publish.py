"""Model folder → checked, complete repository folder for the Hub."""

import shutil
from pathlib import Path

from safetensors import SafetensorError, safe_open
from transformers import AutoTokenizer

from medllm_hf.errors import UserError
from medllm_hf.evaluation.run_folder import read_run, weights_hash
from medllm_hf.folders import check_free, new_folder, read_json
from medllm_hf.hub.cards import model_card

MODEL_FILES = ("*.safetensors", "model.safetensors.index.json", "config.json", "generation_config.json", "tokenizer.json",
               "tokenizer_config.json", "chat_template.jinja", "provenance.json")  # fmt: skip
RUN_FILES = ("manifest.json", "outputs.jsonl", "scores.jsonl", "metrics.json")


def publish_model(
    path: str, repo_id: str, runs: list[str], license: str, base_model: str | None, out: str, overwrite: bool
) -> None:
    """Writes the repository folder `out`: weights, tokenizer, template, generation config, card and evidence. Uploads nothing.

    Raises:
        UserError: see `check_model` and `check_runs`.
    """
    check_free(out, overwrite)
    if repo_id.count("/") != 1:
        raise UserError(f"--repo-id {repo_id!r}", "ORG/NAME", "write it so")
    model = Path(path)
    config = check_model(model)
    read = check_runs(model, runs)
    provenance = read_json(model / "provenance.json") if (model / "provenance.json").exists() else {}
    card = model_card(repo_id, config, provenance, read, license, base_model)
    with new_folder(out, overwrite) as folder:
        for pattern in MODEL_FILES:
            for file in sorted(model.glob(pattern)):
                shutil.copyfile(file, folder / file.name)
        for run in read:
            evidence = folder / "eval" / run["folder"].name
            evidence.mkdir(parents=True)
            for name in RUN_FILES:
                shutil.copyfile(run["folder"] / name, evidence / name)
        card.save(folder / "README.md")
    files = [file for file in sorted(Path(out).rglob("*")) if file.is_file()]
    for file in files:
        print(f"{file.stat().st_size:>12,}  {file.relative_to(out)}")
    print(f"wrote {out}: {len(files)} files for {repo_id}, nothing uploaded")


def check_model(model: Path) -> dict:
    """The config of a model that may be published.

    Raises:
        UserError: no safetensors, an adapter, an empty or non-finite tensor, no template, or a tokenizer whose
            ids or end token do not fit the model.
    """
    if (model / "adapter_config.json").exists():
        raise UserError(f"an adapter in {model}", "full weights", "run `medllm merge` first")
    config = read_json(model / "config.json")
    shards = sorted(model.glob("*.safetensors"))
    if not shards:
        raise UserError(f"no .safetensors in {model}", "weights that cannot run code", "save or convert them as safetensors")
    for shard in shards:
        check_tensors(shard)
    try:
        tokenizer = AutoTokenizer.from_pretrained(model)
    except (OSError, ValueError) as error:
        raise UserError(
            f"no tokenizer in {model} ({str(error).splitlines()[0]})", "the model's tokenizer", "copy it there"
        ) from error
    if not tokenizer.chat_template:
        raise UserError(f"no chat template in {model}", "chat_template.jinja", "copy the base's there")
    if tokenizer.eos_token_id is None or len(tokenizer) > config["vocab_size"]:
        found = f"{len(tokenizer)} tokens with end token {tokenizer.eos_token_id} for a vocabulary of {config['vocab_size']}"
        raise UserError(found, "a tokenizer of this model", "copy the base's there")
    return config


def check_tensors(shard: Path) -> None:
    """Returns nothing when every tensor of the file has elements and all are finite.

    Raises:
        UserError: otherwise, or when the file is damaged.
    """
    try:
        with safe_open(shard, framework="pt") as tensors:
            for name in tensors.keys():
                tensor = tensors.get_tensor(name)
                if not tensor.numel() or not tensor.isfinite().all():
                    raise UserError(f"an empty tensor, NaN or infinity in {name}", "finite weights", "train or convert again")
    except SafetensorError as error:
        raise UserError(f"damaged {shard} ({error})", "a whole safetensors file", "save it again") from error


def check_runs(model: Path, runs: list[str]) -> list[dict]:
    """The runs, each of them made with these very weights.

    Raises:
        UserError: a run of other weights, or two of one name.
    """
    read = [read_run(run) for run in runs]
    names = [run["folder"].name for run in read]
    if len(set(names)) < len(names):
        raise UserError("two runs of one folder name", "a name of its own for each", "rename one")
    digest = weights_hash(model)
    for run in read:
        if run["manifest"]["model"]["weights_sha256"] != digest:
            raise UserError(f"{run['folder']} of other weights", f"a run of {model}", "evaluate this model")
    return read

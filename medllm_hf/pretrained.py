"""Tokenizers, configs and models of transformers, and repositories of the Hub: had here alone, and never with foreign code.

A checkpoint may name classes of its own, by `auto_map`, and bring or point to the code for them. Unless `trust_remote_code` is
said, transformers asks on a terminal whether to run it. Beside a class that transformers knows, such a name has no meaning.
"""

import logging
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from medllm_hf.errors import UserError, first_line, hub_failures
from medllm_hf.folders import read_json
from medllm_hf.generation_settings import ALL, AT_LOADING, check_settings
from medllm_hf.loading_report import MEND, check_family, check_loading, without_bars, without_report, without_values
from medllm_hf.templates.template_checks import check_chat_template
from medllm_hf.vocabulary import check_ids
from medllm_hf.weight_files import ADAPTER, ADAPTER_WEIGHTS, check_regular, choose

if TYPE_CHECKING:  # they take seconds to import, and not every caller comes to need them
    from transformers import GenerationConfig, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

# What libraries are given that load a model on our behalf.
NO_FOREIGN_CODE = {"trust_remote_code": False}
# No code, and of pickles only those that a caller names.
CHECKPOINT_FILES = ("*.json", "*.safetensors", "*.jinja", "tokenizer.model", "merges.txt", "vocab.txt", "*.tiktoken")
WITH_PICKLES = (*CHECKPOINT_FILES, "pytorch_model*.bin")
# Patterns of files that hold weights, of which only those are fetched that are read.
_WEIGHTS = ("*.safetensors", "*.bin", "pytorch_model*.bin")
_DOCUMENTED = (
    *("adapter_kwargs", "attn_implementation", "device_map", "dtype", "experts_implementation", "gguf_file", "kernel_config"),
    *("low_cpu_mem_usage", "max_memory", "offload_buffers", "offload_folder", "offload_state_dict", "proxies"),
    *("quantization_config", "subfolder", "torch_dtype", "tp_plan", "tp_size", "use_kernels", "variant"),
    *NO_FOREIGN_CODE,
)
_KNOWN = "a class that transformers brings along"
_NEVER = "take another checkpoint: code that comes with one is never run"
_BAICHUAN = "run `medllm convert` first"
_LONGEST = 300
# Where a processor's class may be named, and under which keys.
_PROCESSOR_FILES = ("processor_config.json", "preprocessor_config.json", "video_preprocessor_config.json")
EXPECTED = "a checkpoint folder"  # of a name that is refused
_PROCESSORS = {"AutoProcessor": "processor_class", "AutoImageProcessor": "image_processor_type",
               "AutoVideoProcessor": "video_processor_type", "AutoFeatureExtractor": "feature_extractor_type"}  # fmt: skip


def snapshot(
    name: str, revision: str | None = None, patterns: Sequence[str] = CHECKPOINT_FILES, expected: str = EXPECTED
) -> tuple[Path, str | None]:
    """The folder `name` and None, or the local snapshot of the Hub's model repository `name` and its commit.

    Only files that match `patterns` are fetched. `expected` is what a refusal says that a folder should be.

    Raises:
        UserError: neither a folder nor a repository that can be had.
    """
    if Path(name).is_dir():
        return check_regular(Path(name)), None
    check_name(name, expected)
    from huggingface_hub import snapshot_download  # which takes a third of a second, and no local folder needs

    # A repository without a checkpoint is told in our own line, by what reads the folder.
    logging.getLogger("huggingface_hub._snapshot_download").setLevel(logging.ERROR)
    with refusing_hub_errors(name, f"{expected} or a Hub id"):
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=_narrow(patterns, name, revision)))
    return folder, folder.name


def _narrow(patterns: Sequence[str], name: str, revision: str | None = None) -> list[str]:
    """`patterns` of files to fetch from a Hub repository, with those for any weights made names of the weights that are read.

    An adapter's own weights stay. Where the Hub cannot be asked, the names are those in the cache.
    """
    globs = [pattern for pattern in patterns if pattern in _WEIGHTS]
    if not globs:
        return list(patterns)
    from huggingface_hub import HfApi, hf_hub_download, snapshot_download

    failures = hub_failures()
    try:
        info = HfApi().model_info(name, revision=revision)
        names = {file.rfilename for file in info.siblings or ()}
        read = lambda file: read_json(Path(hf_hub_download(name, file, revision=info.sha)))  # noqa: E731
        chosen = _chosen(names, read, name)
    except failures:
        try:
            folder = Path(snapshot_download(name, revision=revision, allow_patterns="config.json", local_files_only=True))
        except failures:  # told by whoever fetches
            return list(patterns)
        chosen = _chosen({path.name for path in folder.iterdir()}, lambda file: read_json(folder / file), name)
    weights = [file for file in (*chosen, ADAPTER_WEIGHTS) if any(fnmatchcase(file, glob) for glob in globs)]
    return [*(pattern for pattern in patterns if pattern not in globs), *weights]


def _chosen(names: Collection[str], read: Callable[[str], dict], where: str) -> list[str]:
    """The chosen weights, or none where what is wrong will be told by what reads the folder."""
    try:
        return choose(set(names) - {ADAPTER}, read, where)
    except UserError:
        return []


def check_name(name: str, expected: str = EXPECTED) -> None:
    """Check that `name`, which is no folder, may be the id of a repository.

    Raises:
        UserError: it can only be meant as a folder.
    """
    if Path(name).is_file():
        do = "give its folder, or have llama.cpp serve a GGUF file and give URL#MODEL"
        raise UserError(f"the file {name}", f"{expected} or a Hub id ORG/NAME", do)
    if Path(name).is_absolute() or name.startswith((".", "~")) or name.count("/") != 1 or Path(name).exists():
        raise UserError(f"no folder {name}", f"{expected} or a Hub id ORG/NAME", "check the path")


@contextmanager
def refusing_hub_errors(name: str, expected: str) -> Iterator[None]:
    """Makes a repository `name` that the Hub does not give a mistake that the user is told.

    Raises:
        UserError: the block could not have it.
    """
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        yield
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        do = "check the name, the network and HF_TOKEN"
        raise UserError(f"no folder and no Hub repository {name} ({first_line(error)})", expected, do) from error


def load_tokenizer(name: str | Path, revision: str | None = None, *, chat: bool = False) -> "PreTrainedTokenizerBase":
    """The tokenizer of a checkpoint folder or Hub id.

    Raises:
        UserError: it cannot be had, is of a class that transformers does not know, or has no template where `chat` wants one.
    """
    from transformers import AutoTokenizer

    _check_tokenizer(name, revision)
    with _told(name, "the tokenizer of a checkpoint"):
        tokenizer = AutoTokenizer.from_pretrained(str(name), revision=revision, trust_remote_code=False)
    if chat:
        check_chat_template(tokenizer, name)
    return tokenizer


def load_config(name: str | Path, revision: str | None = None) -> "PreTrainedConfig":
    """The config of a full model in a checkpoint folder or of a Hub id.

    Raises:
        UserError: it cannot be had, is that of an adapter, or names what transformers does not bring along.
    """
    values = _values(name, revision, "config.json")
    if _values(name, revision, "adapter_config.json") is not None:
        # transformers would load the base that it names, from wherever that is.
        raise UserError(f"an adapter in {name}", "full weights", "run `medllm merge` first")
    if values is not None:
        _check_config(name, values)
    elif Path(name).is_dir():
        raise UserError(f"no config.json in {name}", "a model", "check the path")
    from transformers import AutoConfig  # which takes seconds

    told = () if values is not None else ("check the name, the network and HF_TOKEN", "no folder and no model of the Hub ")
    with _told(name, "a checkpoint that transformers loads", *told):
        return AutoConfig.from_pretrained(str(name), revision=revision, trust_remote_code=False)


def config_values(name: str, revision: str | None = None) -> dict:
    """What config.json says, whether or not transformers knows the model.

    Raises:
        UserError: there is none that can be had.
    """
    from transformers import PreTrainedConfig

    with _told(name, "a checkpoint folder or a Hub id", "check the path, or the network and HF_TOKEN", "no config.json of "):
        return PreTrainedConfig.get_config_dict(name, revision=revision)[0]


def load_generation_config(name: str | Path, revision: str | None = None) -> "GenerationConfig | None":
    """The generation config of a checkpoint folder or Hub id, or None when there is none.

    Raises:
        UserError: it is none that transformers reads.
    """
    from transformers import GenerationConfig

    if _values(name, revision, "generation_config.json") is None:
        return None
    with _told(name, "a generation_config.json that transformers reads"):
        return GenerationConfig.from_pretrained(str(name), revision=revision or "main")


def check_generation(
    name: str | Path,
    config: "PreTrainedConfig",
    revision: str | None = None,
    fields: Collection[str] = ALL,
    served: bool = False,
) -> None:
    """Check that a checkpoint's generation_config.json, if any, has values with which an answer can be written.

    Raises:
        UserError: see `check_settings`.
    """
    values = _values(name, revision, "generation_config.json") or {}
    check_settings(name, values, getattr(config.get_text_config(), "vocab_size", None), fields, served)


def load_model(name: str | Path, revision: str | None = None, **options: Any) -> "PreTrainedModel":
    """The causal language model of a checkpoint folder or Hub id. `options` are those of `from_pretrained`.

    Raises:
        UserError: see `load_config`; also weights that do not fit the config. A lack of memory is not among these.
    """
    from transformers import AutoModelForCausalLM

    config = load_config(name, revision)
    check_generation(name, config, revision, fields=AT_LOADING)
    seen = sys.stderr.isatty()
    with _told(name, "a checkpoint that transformers loads"), without_report(), without_bars(unless=seen):
        options |= {"output_loading_info": True, "ignore_mismatched_sizes": True}  # told below
        loaded = AutoModelForCausalLM.from_pretrained(str(name), revision=revision, trust_remote_code=False, **options)
    model, loading = cast("tuple[PreTrainedModel, dict]", loaded)  # with `output_loading_info` it is a pair
    check_loading(name, loading)
    return model


def check_weights(folder: Path, shapes: Mapping[str, Sequence[int]]) -> None:
    """Check that tensors of these names and shapes are what transformers would load for the folder's config.json.

    It is transformers itself that loads them, without values, so that whatever it renames, ties, joins or ignores counts.
    Quantised weights, and kinds of models that it does not know, are left to it.

    Raises:
        UserError: see `load_config`; also weights that are missing, left over or of another shape.
    """
    import torch
    import transformers

    values = _values(folder, None, "config.json") or {}
    if values.get("quantization_config") or str(values.get("model_type")) not in transformers.CONFIG_MAPPING:
        return
    config = load_config(folder)
    named = next((getattr(transformers, one) for one in config.architectures or () if hasattr(transformers, one)), None)
    kind = cast("type[PreTrainedModel] | None", named or transformers.MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None))
    if kind is None or not isinstance(config, kind.config_class or ()):
        return
    empty = {name: torch.empty(tuple(shape), device="meta") for name, shape in shapes.items()}
    options: dict[str, Any] = {"state_dict": empty, "device_map": {"": "meta"}, "output_loading_info": True}
    with _told(folder, "weights that transformers loads with this config.json"), without_values():
        loaded = kind.from_pretrained(None, config=config, ignore_mismatched_sizes=True, trust_remote_code=False, **options)
    check_loading(folder, cast("tuple[PreTrainedModel, dict]", loaded)[1])


def empty_model(config: "PreTrainedConfig", **options: Any) -> "PreTrainedModel":
    """A causal language model of this config with new weights, which nothing is read for."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_config(config, trust_remote_code=False, **options)


def loading_arguments() -> set[str]:
    """The arguments of `from_pretrained` of a model, with those that transformers documents beside its signature."""
    from transformers import PreTrainedModel

    return set(signature(PreTrainedModel.from_pretrained).parameters) | set(_DOCUMENTED)


def check_known(folder: Path) -> None:
    """Check that model and tokenizer of a checkpoint folder need no foreign code; without `auto_map` it is quick.

    Raises:
        UserError: one of them does.
    """
    values = _values(folder, None, "config.json") or {}
    if _auto_map(values):
        _check_config(folder, values)
    _check_tokenizer(folder, None)


def check_served(folder: Path) -> "PreTrainedTokenizerBase":
    """The tokenizer of a checkpoint folder for which another program, `transformers serve`, needs no foreign code.

    Raises:
        UserError: see `load_config`, `load_tokenizer`; also a model or processor that transformers does not know.
    """
    import transformers

    config = load_config(folder)
    values = _values(folder, None, "config.json") or {}
    for architecture in config.architectures or ["none"]:
        if not hasattr(transformers, architecture):
            raise UserError(f"architecture {architecture!r} in {folder}", _KNOWN, _NEVER)
    files = [_values(folder, None, file) or {} for file in (*_PROCESSOR_FILES, "tokenizer_config.json")]
    for file in (*files, values):
        for auto, key in _PROCESSORS.items():
            known = any(isinstance(other.get(key), str) and hasattr(transformers, other[key]) for other in (*files, values))
            if auto in _auto_map(file) and not known:
                raise _foreign(folder, f"a processor ({auto})", file.get(key), _auto_map(file)[auto])
    check_generation(folder, config, served=True)
    tokenizer = load_tokenizer(folder, chat=True)
    check_ids(tokenizer, config, folder)
    return tokenizer


def refuse_trust(*settings: object) -> None:
    """Check that none of these settings of a training run says that foreign code is to be run.

    Each is a dict of options or an object with them; `model_init_kwargs` within is looked at too.

    Raises:
        UserError: one says so.
    """
    for one in settings:
        options = one if isinstance(one, dict) else vars(one)
        within = options.get("model_init_kwargs")
        for found in (options, within if isinstance(within, dict) else {}):
            if found.get("trust_remote_code") not in (None, False):
                raise UserError("trust_remote_code: true", "false", f"leave it out, and {_NEVER}")


def forget_code(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> None:
    """Takes what names foreign code out of a loaded model and tokenizer, so that it is not saved with them."""
    for kept in (vars(model.config), vars(model.generation_config), tokenizer.init_kwargs):
        kept.pop("auto_map", None)


def lacks_memory(error: Exception) -> bool:
    """Whether an error says that the memory does not suffice; only GPUs and Python have an error of its own for this."""
    import torch

    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "allocate memory" in str(error)


@contextmanager
def _told(name: str | Path, expected: str, do: str = "check the name and its files", before: str = "") -> Iterator[None]:
    """Makes whatever transformers makes of a checkpoint's files, which may hold anything, a mistake that the user is told."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if lacks_memory(error):
            raise
        if "trust_remote_code" in str(error):
            raise UserError(f"code of its own in {name}", _KNOWN, _NEVER) from error
        if "`CONVERSION`" in str(error):
            raise UserError(f"weights in {name} that do not go together", "those that config.json calls for", MEND) from error
        told = first_line(error)
        raise UserError(f"{before}{name}: {told[:_LONGEST]}", expected, do) from error


def _values(name: str | Path, revision: str | None, file: str) -> dict | None:
    """What a JSON file of a checkpoint says; None where it has none, or what is wrong will be told by transformers."""
    if not str(name):  # a tokenizer that was made in memory; as a path it would be the current folder
        return None
    if Path(name).is_dir():
        path = check_regular(Path(name)) / file
    else:
        from transformers.utils import cached_file

        quiet = dict.fromkeys(("missing_entries", "connection_errors", "gated_repo"), False)
        with _told(name, "a checkpoint folder or a Hub id", "check the name, the network and HF_TOKEN"):
            options = {f"_raise_exceptions_for_{what}": value for what, value in quiet.items()}
            found = cached_file(str(name), file, revision=revision, **options)
        if found is None:
            return None
        path = Path(found)
    return read_json(path) if path.is_file() else None


def _auto_map(values: dict) -> dict:
    """Auto class → code, of a config; older tokenizers have a bare list."""
    found = values.get("auto_map")
    return found if isinstance(found, dict) else {"AutoTokenizer": found} if found else {}


def _check_config(name: str | Path, values: dict) -> None:
    """Check that transformers knows the model of this config.json and its attention."""
    from transformers import CONFIG_MAPPING

    kind = values.get("model_type")
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        do = _BAICHUAN if kind == "baichuan" else None
        if code := _auto_map(values):
            raise _foreign(name, "a model", kind, code.get("AutoConfig") or next(iter(code.values())), do)
        known = "one that this version of transformers knows"
        raise UserError(f"model_type {kind!r} in {name}", known, do or "check config.json and the version")
    check_family(name, values)
    for part in (values, *(value for value in values.values() if isinstance(value, dict))):
        for key, value in part.items():
            # Such an implementation is a repository of compiled code, which transformers fetches and runs.
            if key.endswith("_implementation") and "/" in str(value):
                raise UserError(f"{key} {value!r} in {name}", "an implementation that transformers brings along", _NEVER)


def _check_tokenizer(name: str | Path, revision: str | None) -> None:
    """Check that transformers knows the class that tokenizer_config.json names beside code of its own."""
    values = _values(name, revision, "tokenizer_config.json") or {}
    kind, code = values.get("tokenizer_class"), _auto_map(values).get("AutoTokenizer")
    if not code or kind is None:
        return
    from transformers.models.auto.tokenization_auto import tokenizer_class_from_name

    if not isinstance(kind, str) or not any(map(tokenizer_class_from_name, (kind, kind.removesuffix("Fast"), kind + "Fast"))):
        config = _values(name, revision, "config.json") or {}
        raise _foreign(name, "a tokenizer", kind, code, _BAICHUAN if config.get("model_type") == "baichuan" else None)


def _foreign(name: str | Path, what: str, kind: object, code: object, do: str | None = None) -> UserError:
    """The refusal of a class that transformers does not know; `code` is what stands for it in `auto_map`."""
    references = code if isinstance(code, list) else [code]
    where = next((one.split("--")[0] for one in references if isinstance(one, str) and "--" in one), "itself")
    return UserError(f"{what} of class {kind!r} in {name}, with code in {where}", _KNOWN, do or _NEVER)

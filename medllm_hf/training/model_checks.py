"""A model that cannot be trained as the settings say, told from its config and the headers of its weights alone."""

import copy
import sys
import warnings
from pathlib import Path

import pyarrow.compute as pc
import torch
from peft import PeftConfig
from peft.tuners.tuners_utils import BaseTunerLayer
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.utils import ADAPTER_CONFIG_NAME, CONFIG_NAME, SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME

from medllm_hf.errors import UserError
from medllm_hf.training.checks import told
from medllm_hf.training.memory import with_adapter
from medllm_hf.training.plan import model_config
from medllm_hf.training.saved import resized, tensor_shapes
from medllm_hf.training.tokens import Prepared

FETCH = "fetch the checkpoint again"


def check_model(name: str, revision: str | None, attention: str | None, adapter: PeftConfig | None) -> PreTrainedModel | None:
    """The model without weights, if transformers makes one of its config alone, when it takes the attention and the adapter.

    Args:
        name: checkpoint folder or Hub id.
        attention: attn_implementation; None is transformers' own choice.

    Raises:
        UserError: a folder with an adapter or in Baichuan's layout, weights that do not fit the config, an attention that
            is not there, an adapter on modules that the model does not have, or on its head.
    """
    folder = Path(name)
    if (folder / ADAPTER_CONFIG_NAME).is_file() and not (folder / CONFIG_NAME).is_file():
        do = "merge it with `medllm merge ADAPTER FOLDER` and train that"
        raise UserError(f"an adapter in {name}", "a model", do)
    config, unconverted = model_config(name, revision)
    if unconverted:
        raise UserError(
            f"{name} in Baichuan's layout", "Llama's layout", "run `medllm convert` first, and train what it writes"
        )
    sketch = without_weights(config)
    if sketch is None:
        return None
    check_shapes(folder, sketch)
    # A kernel of the Hub would be fetched by the question.
    if attention and "/" not in attention:
        with told(f"attn_implementation {attention}", "name another, or remove the option"), torch.device("meta"):
            AutoModelForCausalLM.from_config(copy.deepcopy(config), attn_implementation=attention)
    elif attention:
        with told(f"attn_implementation {attention}", "pip install kernels, or remove the option"):
            import kernels  # noqa: F401
    if adapter is not None:
        check_adapter(sketch, adapter)
    return sketch


def without_weights(config: PreTrainedConfig) -> PreTrainedModel | None:
    """The model that `config` describes, with no weight allocated; None where transformers cannot make it of that alone."""
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return AutoModelForCausalLM.from_config(copy.deepcopy(config), attn_implementation="eager")
        except Exception:  # whatever it is, loading the weights will say it better
            return None


def check_shapes(folder: Path, sketch: PreTrainedModel) -> None:
    """Returns nothing when the weights in a local folder have the shapes that its config calls for.

    Raises:
        UserError: naming the first that has not.
    """
    if not any((folder / name).is_file() for name in (SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME)):
        return
    expected = {name: list(tensor.shape) for name, tensor in sketch.state_dict().items()}
    for name, shape in tensor_shapes(folder, SAFE_WEIGHTS_NAME, FETCH).items():
        if name in expected and shape != expected[name]:
            do = resized(shape, expected[name]) or FETCH
            raise UserError(f"{name} of shape {shape} in {folder}", f"{expected[name]}, as its config.json says", do)


def check_adapter(sketch: PreTrainedModel, adapter: PeftConfig) -> None:
    """Returns nothing when PEFT can put the adapter into the model and TRL can train it.

    Raises:
        UserError: settings or module names that do not fit, or an adapter on the head, past which TRL computes its loss.
    """
    names = [name for name, _ in sketch.named_modules()]
    for name in adapter.modules_to_save or ():
        if not any(path == name or path.endswith(f".{name}") for path in names):
            raise UserError(
                f"lora_modules_to_save {name}, which the model does not have", "names of its modules", "name others"
            )
    parameters = [name for name, _ in sketch.named_parameters()]
    for name in getattr(adapter, "target_parameters", None) or ():
        if not any(path == name or path.endswith(f".{name}") for path in parameters):
            found = f"lora_target_parameters {name}, which the model does not have"
            raise UserError(found, "names of its parameters", "name others")
    with torch.device("meta"):
        wrapped = with_adapter(copy.deepcopy(sketch), copy.deepcopy(adapter))
    if isinstance(wrapped.get_output_embeddings(), BaseTunerLayer):
        head = next(name for name, module in sketch.named_modules() if module is sketch.get_output_embeddings())
        found = f"{head} among lora_target_modules, where TRL would not train it"
        do = f"leave it out, or add --lora_modules_to_save {head} to train it whole"
        raise UserError(found, "modules below the head", do)


def check_ids(parts: list[Prepared], sketch: PreTrainedModel, name: str) -> None:
    """Returns nothing when the model has a row of its embedding for every id in tokenised splits.

    Raises:
        UserError: the tokenizer was given tokens that the model was not.
    """
    rows = sketch.get_input_embeddings().weight.shape[0]
    largest = max(
        pc.max(ids.flatten()).as_py() or 0
        for part in parts
        for batch in part.dataset.select_columns(["input_ids"]).with_format("arrow").iter(10_000)
        for ids in batch["input_ids"].chunks
    )
    if largest >= rows:
        do = f"resize_token_embeddings({largest + 1}) and save_pretrained the base first, or take the added tokens out"
        raise UserError(f"the id {largest} in the dialogues, and {rows} rows in the embedding of {name}", "a row an id", do)


def warn_of_length(max_length: int | None, sketch: PreTrainedModel | None) -> None:
    """Says on the screen when dialogues may be longer than the model has positions."""
    positions = getattr(sketch.config.get_text_config(), "max_position_embeddings", None) if sketch else None
    if positions and (max_length or 0) > positions:
        found = f"medllm: max_length {max_length} is more than the model's {positions} positions"
        print(f"{found}; it has never seen what lies beyond", file=sys.stderr)

"""What a model card says of the model itself and of its training, from the files beside the weights and their headers."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from medllm_hf.errors import UserError, first_line
from medllm_hf.reporting.blocks import Table, table_lines
from medllm_hf.weight_files import weight_files

# Type of a stored number in a header of safetensors → its usual name; the digits are its bits. Source: the format's README.
_NAMES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "F64": "float64"}
# Names of one value in the configs of different families.
_LAYERS, _WIDTH = ("num_hidden_layers", "n_layer", "n_layers"), ("hidden_size", "n_embd", "d_model")
_HEADS, _CONTEXT = ("num_attention_heads", "n_head"), ("max_position_embeddings", "n_positions")
# Tokens of a usual conversation, for which the memory is told beside that for the whole context.
_CONVERSATION = 4096
# What a training report says, with its name in the card; the rest is in training.json.
TRAINING = (
    ("steps 步数", "steps", ",d"), ("epochs 轮数", "epochs", ".2f"), ("dialogues read 读入对话", "dialogues_read", ",d"),
    ("tokens of the dataset 数据集 token 数", "tokens", ",d"), ("trained tokens 计损失的 token 数", "trained_tokens", ",d"),
    ("parameters 参数量", "parameters", ",d"), ("trained parameters 可训练参数量", "trained_parameters", ",d"),
    ("last training loss 最终训练损失", "last_loss", ".4f"), ("last evaluation loss 最终验证损失", "last_eval_loss", ".4f"),
)  # fmt: skip
# Options of TRL and PEFT that stand in a table; others stand below it as they are written in a recipe.
OPTIONS = {
    "learning_rate": "learning rate 学习率", "lr_scheduler_type": "schedule 学习率调度", "warmup_steps": "warm-up 预热",
    "warmup_ratio": "warm-up, share 预热比例", "num_train_epochs": "epochs planned 计划轮数",
    "max_steps": "steps planned 计划步数",
    "per_device_train_batch_size": "batch on a device 单设备批大小", "gradient_accumulation_steps": "batches a step 梯度累积",
    "optim": "optimiser 优化器", "weight_decay": "weight decay 权重衰减", "max_grad_norm": "gradient clipping 梯度裁剪",
    "max_length": "longest dialogue, tokens 最大长度", "packing": "packing 样本打包",
    "assistant_only_loss": "loss on answers alone 仅回答计损失", "bf16": "bfloat16", "seed": "seed 随机种子",
}  # fmt: skip
_READ_FROM = r"(?:checkpoint-[0-9]{1,12}/)?(?:training_args\.bin|trainer_state\.json)"
_LORA = {
    "r": "LoRA rank 秩", "lora_alpha": "LoRA alpha", "lora_dropout": "LoRA dropout", "use_rslora": "rsLoRA",
    "target_modules": "LoRA modules 目标模块", "modules_to_save": "trained whole 整体训练的模块",
}  # fmt: skip


def stored_numbers(folder: Path) -> dict[str, int]:
    """How many numbers of each type, by its name in a header, the weights in a folder have.

    Raises:
        UserError: no weights, or a file of them that is damaged.
    """
    from safetensors import SafetensorError, safe_open

    found: Counter[str] = Counter()
    for file in weight_files(folder):
        try:
            with safe_open(file, framework="pt") as tensors:
                for name in tensors.keys():
                    one, count = tensors.get_slice(name), 1
                    for size in one.get_shape():
                        count *= size
                    found[one.get_dtype()] += count
        except SafetensorError as error:
            raise UserError(f"damaged {file} ({first_line(error)})", "a whole safetensors file", "save it again") from error
    return dict(found)


def model_lines(config: Mapping, generation: Mapping, stored: Mapping[str, int]) -> list[str]:
    """The lines of the table of architecture, size, context, memory and sampling.

    Args:
        config, generation: what config.json and generation_config.json say.
        stored: see `stored_numbers`.
    """
    inner = config.get("text_config") or config
    size = sum(_bits(kind) * count for kind, count in stored.items()) // 8
    kinds = sorted(stored, key=lambda kind: -stored[kind])
    parts = (("{} layers 层", _LAYERS), ("width 宽度 {}", _WIDTH), ("vocabulary 词表 {:,}", ("vocab_size",)))
    shape = [text.format(value) for text, names in parts if (value := _first(inner, names))]
    rows = [
        ("architecture 结构", ", ".join([*(config.get("architectures") or ["?"])[:1], *shape])),
        ("parameters 参数量", f"{sum(stored.values()):,}"),
        ("weights 权重", f"{_gigabytes(size)}, {', '.join(_NAMES.get(kind, kind) for kind in kinds)}"),
    ]
    if context := _first(inner, _CONTEXT):
        rows.append(("context 上下文长度", f"{context:,} tokens"))
        rows.append(("memory 显存或内存", _memory(inner, size, context, _bits(kinds[0]))))
    return table_lines(Table(("model 模型", "value 值"), (*rows, ("sampling 采样设置", _sampling(generation)))))


def _bits(kind: str) -> int:
    digits = re.search(r"\d+", kind)
    return int(digits[0]) if digits else 8


def _first(values: Mapping, names: Sequence[str]) -> Any:
    return next((values[name] for name in names if values.get(name)), None)


def _gigabytes(count: float) -> str:
    """Bytes as GB of 10^9, or as MB of 10^6 where these are few."""
    return f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def _memory(config: Mapping, size: int, context: int, bits: int) -> str:
    """The memory for the weights of `size` bytes and the keys and values of one conversation.

    Each token keeps 2 x layers x key-value heads x width of a head numbers, in the type of the weights, or in 16 bits where
    that is less. A model that keeps something else (a latent, a state, a window) is told without them.
    """
    kept = _kept_a_token(config)
    if kept is None:
        return f"{_gigabytes(size)} for the weights, without cache and framework 权重本身，不含缓存和框架开销"
    lengths = sorted({min(_CONVERSATION, context), context})
    told = ", ".join(f"{_gigabytes(size + kept * max(bits, 16) // 8 * length)} at {length:,} tokens" for length in lengths)
    return f"{told}: weights and cache of one conversation, without the framework 权重加单个对话的缓存，不含框架开销"


def _kept_a_token(config: Mapping) -> int | None:
    """Numbers that the cache keeps of each token; None where the layers are not plain attention."""
    kinds = config.get("layer_types") or []
    other = any(kind not in ("full_attention", "attention") for kind in kinds)
    heads, layers, width = (_first(config, names) for names in (_HEADS, _LAYERS, _WIDTH))
    if other or "kv_lora_rank" in config or config.get("use_sliding_window") or not (heads and layers and width):
        return None
    return 2 * layers * (config.get("num_key_value_heads") or heads) * (config.get("head_dim") or width // heads)


def _sampling(generation: Mapping) -> str:
    """What the model's own generation config does, and how an answer is had that does not change."""
    if not generation.get("do_sample"):
        return (
            "greedy in transformers, since generation_config.json samples nothing; vLLM takes temperature 1 unless told: "
            "send temperature 0. transformers 默认贪心；vLLM 默认温度 1，请传 temperature 0"
        )
    names = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "max_new_tokens")
    told = ", ".join(f"{name} {generation[name]}" for name in names if name in generation) or "temperature 1"
    same = "do_sample=False in transformers, temperature 0 in vLLM"
    return f"{told}, as generation_config.json says; for the same answer each time 如需每次输出相同: {same}"


def provenance_facts(provenance: Mapping) -> list[str]:
    """What the card says of a conversion or a merge, a line each."""
    facts = []
    if "source" in provenance:
        revision = f" at revision {provenance['revision']}" if provenance.get("revision") else ""
        template = f"chat template 对话模板 `{provenance['template']}`"
        facts.append(f"- converted from 转换自 {provenance['source']}{revision}, {template}")
    for adapter in provenance.get("adapters", []):
        onto = f"{provenance['base']} ({provenance['base_weights']}) in {provenance['arithmetic']}"
        qlora = "if it was trained over a quantised base (QLoRA), answers can differ slightly from those during training"
        facts.append(f"- LoRA {adapter['name']} merged onto {onto}; {qlora}.")
        facts.append("  LoRA 适配器已并入上述基座；若训练时基座是量化的（QLoRA），回答可能与训练时略有不同。")
    return facts


def training_lines(values: Mapping, provenance: Mapping) -> list[str]:
    """What the card says of the training: a table, where its figures are from, and the other options.

    Args:
        values: the content of `training.json`; see `checkpoint.training_record`.
        provenance: the content of `provenance.json`, whose last adapter is the one that was trained.
    """
    adapters = [*values.get("adapters", {}).values(), *provenance.get("adapters", [])[-1:]]
    if not values and not any("r" in one for one in adapters):
        return []
    run, settings, hardware = values.get("run", {}), values.get("settings", {}), values.get("hardware", {})
    rows = [(name, format(run[key], form)) for name, key, form in TRAINING if key in run]
    if settings.get("max_steps", -1) != -1:  # they count in the place of epochs
        settings = {key: value for key, value in settings.items() if key != "num_train_epochs"}
    rows += [(name, str(settings[key])) for key, name in OPTIONS.items() if settings.get(key, -1) != -1]
    lora: Mapping[str, Any] = next((one for one in adapters if one), {})
    rows += [(name, _value(lora[key])) for key, name in _LORA.items() if lora.get(key) not in (None, False, [])]
    if hardware:
        rows.append(("hardware 硬件", f"{hardware['devices']} x {hardware['device']}"))
    if "versions" in values:
        rows.append(("software 软件", versions_text(values["versions"])))
    lines = table_lines(Table(("training 训练", "value 值"), tuple(rows)))
    if "read_from" in values:
        named = ", ".join(f"`{name}`" for name in values["read_from"] if re.fullmatch(_READ_FROM, name))
        return [*lines, "", f"Read from what the training left 读自训练留下的文件: {named}."]
    rest = {key: value for key, value in settings.items() if key not in OPTIONS}
    told = "What is not named here was TRL's default. 未列出的选项为 TRL 默认值。"
    more = ["Also 其他选项:", "", "```yaml", yaml.safe_dump(rest, allow_unicode=True).strip(), "```"] if rest else []
    return [*lines, "", *more, *[""][: len(more)], told] if values else lines


def _value(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def versions_text(versions: Mapping) -> str:
    """The versions of packages on one line."""
    return ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))

"""LoRA adapter folder → repository folder for the Hub, for those who want the adapter itself published."""

import shutil
from pathlib import Path

from huggingface_hub import ModelCard, ModelCardData

from medllm_hf.errors import UserError
from medllm_hf.folders import check_apart, check_free, new_folder, read_json, write_json
from medllm_hf.hub.cards import WARNING
from medllm_hf.hub.licences import check_licence, terms_of
from medllm_hf.hub.publish import check_tensors
from medllm_hf.hub.repository import check_name
from medllm_hf.weight_files import check_regular

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
BESIDE = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")


def publish_adapter(path: str, repo_id: str, license: str, base_model: str | None, out: str, overwrite: bool) -> None:
    """Writes the repository folder `out`: adapter, its configuration naming the base on the Hub, tokenizer, card.

    Raises:
        UserError: no adapter there, no base model named, a licence that is not the base's, or weights that are damaged,
            empty or not finite.
    """
    check_apart(out, [path])
    check_free(out, overwrite)
    check_name(repo_id)
    adapter = Path(path)
    if not base_model:
        raise UserError("--adapter without --base-model", "the Hub id of the base that it belongs to", "add --base-model")
    check_licence(license, terms_of(base_model, {}))
    config = read_json(adapter / CONFIG)
    check_regular(adapter)
    for name in BESIDE:
        if name.endswith(".json") and (adapter / name).exists():
            read_json(adapter / name)
    if not (adapter / WEIGHTS).exists():
        raise UserError(f"no {WEIGHTS} in {adapter}", "weights that cannot run code", "save the adapter as safetensors")
    check_tensors(adapter / WEIGHTS)
    with new_folder(out, overwrite) as folder:
        for name in (WEIGHTS, *BESIDE):
            if (adapter / name).exists():
                shutil.copyfile(adapter / name, folder / name)
        # Training wrote the path of the base on its own machine.
        write_json(folder / CONFIG, {**config, "base_model_name_or_path": base_model})
        adapter_card(repo_id, config, license, base_model).save(folder / "README.md")


def adapter_card(repo_id: str, config: dict, license: str, base_model: str) -> ModelCard:
    """The card of an adapter: what it belongs to and how it is loaded."""
    terms = terms_of(base_model, {})
    data = ModelCardData(
        language=["zh"],
        license=license,
        license_name=terms.name if terms else None,
        license_link=terms.link if terms else None,
        library_name="peft",
        pipeline_tag="text-generation",
        tags=["medical", "conversational", "lora", "medllm_hf"],
        base_model=base_model,
    )
    modules = config.get("target_modules")
    named = ", ".join(f"`{name}`" for name in sorted(map(str, modules))) if isinstance(modules, list) else f"`{modules}`"
    return ModelCard(
        f"""---
{data.to_yaml()}
---

# {repo_id.split("/")[1]}

A LoRA adapter of rank {config.get("r")} on {named} of [{base_model}](https://huggingface.co/{base_model}), for
Chinese medical consultation. 中文医疗问诊对话模型的 LoRA 适配器。

{WARNING}

## Use · 使用

```python
from peft import PeftModel
from transformers import AutoModelForCausalLM

model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("{base_model}", dtype="auto"), "{repo_id}")
```

## Licence · 许可

{f"{terms.english}{chr(10) * 2}{terms.chinese}" if terms else license}

## Limits · 局限

The answers can be wrong or incomplete, and were not tested with patients. 回答可能出错或不完整，未在患者中验证。
"""
    )

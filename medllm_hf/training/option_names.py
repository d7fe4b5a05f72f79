"""What other trainers, and older versions of these libraries, call the options of `trl sft`.

Read from the public examples of LLaMA-Factory and axolotl, from peft's LoraConfig, and from older TRL and transformers.
"""

import difflib
from collections.abc import Collection

# A name → the option of `trl sft` that means it, or "" for none, with its value in brackets where a reader would not guess it.
OPTIONS = {
    **dict.fromkeys(
        ("cutoff_len", "max_seq_length", "max_seq_len", "sequence_len", "model_max_length", "block_size"), "max_length"
    ),
    **dict.fromkeys(("base_model", "model_name", "model_path", "model"), "model_name_or_path"),
    **dict.fromkeys(("dataset", "dataset_dir", "data_path", "train_file"), "dataset_name"),
    **dict.fromkeys(("lora_rank", "r"), "lora_r"),
    **dict.fromkeys(("lora_target", "target_modules"), "lora_target_modules"),
    "lora_target_linear": "lora_target_modules (all-linear)",
    **dict.fromkeys(("additional_target", "modules_to_save"), "lora_modules_to_save"),
    "task_type": "lora_task_type",
    **dict.fromkeys(("finetuning_type", "adapter"), "use_peft (true for lora)"),
    "template": "chat_template_path (a .jinja file; without it the checkpoint's own)",
    "chat_template": "chat_template_path (a .jinja file; without it the checkpoint's own)",
    **dict.fromkeys(("preprocessing_num_workers", "dataset_processes"), "dataset_num_proc"),
    "flash_attn": "attn_implementation (flash_attention_2)",
    "flash_attention": "attn_implementation (flash_attention_2)",
    "use_flash_attention_2": "attn_implementation (flash_attention_2)",
    "sdp_attention": "attn_implementation (sdpa)",
    "torch_dtype": "dtype",
    "pure_bf16": "bf16",
    "quantization_bit": "load_in_4bit",
    "enable_liger_kernel": "use_liger_kernel",
    **dict.fromkeys(("neat_packing", "sample_packing"), "packing"),
    "eval_sample_packing": "eval_packing",
    **dict.fromkeys(
        ("micro_batch_size", "per_device_batch_size", "batch_size", "train_batch_size", "per_gpu_train_batch_size"),
        "per_device_train_batch_size",
    ),
    **dict.fromkeys(("eval_batch_size", "per_gpu_eval_batch_size"), "per_device_eval_batch_size"),
    **dict.fromkeys(("num_epochs", "epochs", "n_epochs"), "num_train_epochs"),
    **dict.fromkeys(("lr", "lr_rate"), "learning_rate"),
    "lr_scheduler": "lr_scheduler_type",
    "optimizer": "optim",
    "warmup_ratio": "warmup_steps (below 1 it is a share of all steps)",
    "evaluation_strategy": "eval_strategy",
    "group_by_length": "train_sampling_strategy (group_by_length)",
    **dict.fromkeys(("train_on_inputs", "train_on_prompt", "mask_history"), "assistant_only_loss"),
    "no_cuda": "use_cpu",
    **dict.fromkeys(("wandb_project", "use_wandb", "use_swanlab"), "report_to"),
    "overwrite_output_dir": "--overwrite",
    **dict.fromkeys(("val_size", "val_set_size"), "--test-fraction of `medllm data build`"),
    # `medllm sft` does these in any case, or never.
    **dict.fromkeys(
        (
            "stage",
            "overwrite_cache",
            "plot_loss",
            "max_samples",
            "use_fast_tokenizer",
            "tokenizer_type",
            "model_type",
            "dataset_prepared_path",
            "pad_to_sequence_len",
            "strict",
            "special_tokens",
            "wandb_entity",
            "wandb_watch",
            "wandb_name",
            "wandb_log_model",
        ),
        "",
    ),
}


def counterpart(name: str, known: Collection[str]) -> str | None:
    """What to write in place of the option `name`; "" for nothing, None where that is not known.

    Args:
        known: The options of the installed `trl sft`.
    """
    option = OPTIONS.get(name)
    if option is not None and (not option or option.startswith("--") or option.split()[0] in known):
        return option
    return next(iter(difflib.get_close_matches(name, known, n=1, cutoff=0.75)), None)

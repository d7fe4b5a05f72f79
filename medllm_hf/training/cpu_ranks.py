"""Several ranks on CPUs, so that DeepSpeed and data-parallel runs can be tried without a GPU."""

import importlib
import os


def use_cpu_ranks() -> None:
    """Lets the ranks of a launcher meet over gloo when the machine has no accelerator; otherwise does nothing."""
    if "LOCAL_RANK" not in os.environ:
        return
    import torch
    from accelerate.state import PartialState
    from accelerate.utils import DistributedType, is_deepspeed_available

    if torch.accelerator.is_available():
        return
    # accelerate joins CPU ranks only when told `use_cpu`, and then it knows no DeepSpeed.
    PartialState._prepare_backend = lambda *args, **kwargs: ("gloo", DistributedType.MULTI_CPU)
    # Held to the end of the process: were the data-parallel model its last owner, the two could wait for each other for ever,
    # a destructor for a thread of gloo, and that thread for the interpreter's lock.
    torch.distributed.init_process_group("gloo")
    PartialState.held = torch.distributed.group.WORLD
    if is_deepspeed_available():
        # An operator for inference alone, which would be compiled for a minute, and without a compiler stop the run.
        vars(importlib.import_module("deepspeed.comm.torch"))["build_shm_op"] = lambda: None

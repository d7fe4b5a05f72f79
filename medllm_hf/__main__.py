"""`python -m medllm_hf` is the same program as `medllm`."""

import sys

from medllm_hf.cli import main

sys.exit(main())

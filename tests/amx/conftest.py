"""A whole llama.cpp is tried where `make test-amx` has built one; `make test` tries the header alone."""

import os

collect_ignore = [] if os.environ.get("LLMCTL_AMX") else ["test_llama.py"]

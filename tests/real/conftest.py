"""Nothing here is collected without a model: `make test-real MODEL=FILE.gguf` gives one."""

import os

collect_ignore = [] if os.environ.get("LLMCTL_TEST_MODEL") else ["test_real.py"]

"""The file of a chat template that a user gives to a model: whether it can be one, and what stands in it.

It reads text, and knows nothing of what the text means.
"""

from llmctl.errors import ModelUnavailable
from llmctl.paths import expanded
from llmctld.models.catalogue.target import regular

MOST_BYTES = 2**20
"""The largest of those that are known has 20,000."""
HINT = "`--set template=FILE` (or `models.NAME.template`) names a file with a chat template, in Jinja."


def read_template(name: str) -> str:
    """Raises ModelUnavailable where there is no file of text."""
    path = expanded(name)
    try:
        size = regular(path).st_size
        if size > MOST_BYTES:
            raise ModelUnavailable(f"the template {path} has {size} bytes; at most {MOST_BYTES} are taken", HINT)
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ModelUnavailable(f"the template {path} cannot be read: {error.strerror}", HINT) from error
    except UnicodeDecodeError as error:
        raise ModelUnavailable(f"the template {path} is no text in UTF-8 (byte {error.start})", HINT) from error
    if not text.strip():
        raise ModelUnavailable(f"the template {path} is empty", HINT)
    return text

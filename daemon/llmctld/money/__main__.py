"""`python -m llmctld.money NAME`: the prices of a model in effect and where each comes from; prints a line of JSON.

For `llmctl models show`. Starts no hub.
"""

import sys

from llmctl.config import load
from llmctl.errors import LlmctlError
from llmctl.guide import built_in
from llmctl.paths import find_paths
from llmctld.models.catalogue.catalog import Catalog
from llmctld.money.pricing.price_list import IN_EFFECT, PriceList
from llmctld.runtime.lines import say


def main() -> int:
    """Returns 0, or the status of the error, which is then the line."""
    try:
        paths = find_paths()
        config = load(paths.config_file)
        catalog = Catalog(paths.models, config.models, guide=built_in())
        price = PriceList(catalog, config.money).of(catalog.find(sys.argv[1]))
    except LlmctlError as error:
        say({"error": error.fields()})
        return error.status
    prices = {
        setting: {"value": str(getattr(price, IN_EFFECT[setting])), "source": source}
        for setting, source in price.sources.items()
    }
    say({"currency": price.currency, "prices": prices})
    return 0


if __name__ == "__main__":
    sys.exit(main())

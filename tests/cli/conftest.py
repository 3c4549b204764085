"""The same home and the same small hub as for the tests of the client."""

from tests.client.conftest import fake, house

__all__ = ["fake", "house"]

"""A real PostgreSQL for the tests of actors that count on one."""

from tests.contract.postgres import postgres_server, postgres_url

__all__ = ["postgres_server", "postgres_url"]

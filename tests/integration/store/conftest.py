from tests.support.store_fixtures import server, world

__all__ = ["server", "world"]

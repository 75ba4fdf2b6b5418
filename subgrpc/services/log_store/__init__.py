"""The log store: complete journals go to the artifact store, and are read back from there.

`Archiver` puts them in, `LogCache` fetches what is read and evicts what is not, `Retention` ends
what is old enough. `LogStore` is all of it, as a server runs it.
"""

from __future__ import annotations

from subgrpc.services.log_store.archiver import Archiver
from subgrpc.services.log_store.cache import LogCache
from subgrpc.services.log_store.retention import Retention
from subgrpc.services.log_store.running import LogStore

__all__ = ["Archiver", "LogCache", "LogStore", "Retention"]

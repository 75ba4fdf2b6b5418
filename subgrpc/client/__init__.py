"""The Python client: typed calls, errors as `SubgrpcError`, streams that outlive the connection.

```python
from subgrpc.client import connect

with connect("127.0.0.1:7411") as client:
    experiment = client.get_experiment("teams/default/experiments/digits")
    for frame in client.follow_logs(experiment.name):
        ...
```
"""

from __future__ import annotations

from subgrpc.client.channel import DEFAULT_ADDRESS, Credentials
from subgrpc.client.client import Client, connect
from subgrpc.client.streams import Stream

__all__ = ["DEFAULT_ADDRESS", "Client", "Credentials", "Stream", "connect"]

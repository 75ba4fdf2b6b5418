"""The Python client: experiments as objects, typed errors, streams that outlive the connection.

```python
from subgrpc.client import Client

with Client("127.0.0.1:7411") as client:
    experiment = client.experiments.create("python train.py", cpu=2)
    experiment.wait(print_output=True)
    print(experiment.state, experiment.message)
```

`AsyncClient` is the same for asyncio; docs/sdk.md tells more. `Client.create_experiment` and so on
are the API call by call, with its own messages.
"""

from __future__ import annotations

from subgrpc.client.aio.artifacts import AsyncArtifacts
from subgrpc.client.aio.client import AsyncClient, async_connect
from subgrpc.client.aio.experiments import AsyncExperiments
from subgrpc.client.aio.feeds import AsyncFeed
from subgrpc.client.aio.handle import AsyncChange, AsyncExperimentHandle
from subgrpc.client.aio.streams import AsyncStream
from subgrpc.client.artifacts import Artifacts
from subgrpc.client.channel import DEFAULT_ADDRESS, Credentials
from subgrpc.client.client import Client, connect
from subgrpc.client.experiments import Experiments
from subgrpc.client.feeds import Feed
from subgrpc.client.handle import Change, ExperimentHandle
from subgrpc.client.streams import Stream
from subgrpc.client.transfer.progress import Progress
from subgrpc.client.transfer.results import Difference, Pulled, Pushed

__all__ = [
    "DEFAULT_ADDRESS",
    "Artifacts",
    "AsyncArtifacts",
    "AsyncChange",
    "AsyncClient",
    "AsyncExperimentHandle",
    "AsyncExperiments",
    "AsyncFeed",
    "AsyncStream",
    "Change",
    "Client",
    "Credentials",
    "Difference",
    "ExperimentHandle",
    "Experiments",
    "Feed",
    "Progress",
    "Pulled",
    "Pushed",
    "Stream",
    "async_connect",
    "connect",
]

"""The client for asyncio, and the source of the one that blocks.

`tools/make_sync_client.py` makes the module of the same name in `subgrpc.client` from each module
here that says so; `connection` is written twice, since there the two really differ.
"""

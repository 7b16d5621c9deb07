"""`sentinel memory rebuild`: fills Qdrant from the journal, through a running Sentinel or without one."""

import asyncio

from rich.console import Console

from actors.journal import JournalActor
from actors.recollection import Recollection
from sentinel.adapters.qdrant import open_memory
from sentinel.adapters.sql_journal import SqlJournalStore
from sentinel.cli.client import Client
from sentinel.clock import SystemClock
from sentinel.settings import Settings


def rebuild(client: Client, console: Console) -> None:
    """Have the running Sentinel do it: it owns the memory."""
    console.print(client.post("/api/v1/memory/rebuild", {})["answer"])


def rebuild_offline(settings: Settings, console: Console) -> None:
    """Do it here, while no Sentinel runs. Raises Unavailable if one holds the memory."""
    store = SqlJournalStore(settings.store.url)
    try:
        memory = open_memory(settings.qdrant)
        try:
            recollection = Recollection(memory, settings.correlation.recall_limit, JournalActor(store), SystemClock())
            count = asyncio.run(recollection.rebuild())
        finally:
            memory.close()
    finally:
        store.close()
    console.print(f"{count} incidents are remembered, as the journal tells them")

"""A Datasette that serves results files, for the tests of its pages."""

import asyncio
import contextlib
import gc
import threading
import time
import warnings

import uvicorn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what it imports is its own affair
    from datasette.app import Datasette
    from datasette.plugins import pm

    from ollama_bench.browsing import datasette_plugin

    gc.collect()  # it leaves a connection open when it is imported


@contextlib.contextmanager
def plugged_in():
    """Have the plugin in Datasette, as where the package is installed."""
    is_installed = pm.has_plugin("ollama_bench")
    if not is_installed:
        pm.register(datasette_plugin, "ollama_bench")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
            gc.collect()  # its threads leave connections open
    finally:
        if not is_installed:
            pm.unregister(name="ollama_bench")


@contextlib.contextmanager
def serving(files):
    """Yield the address of a Datasette of these files on a port of its own."""
    with plugged_in():
        datasette = Datasette([str(file) for file in files])
        server = uvicorn.Server(
            uvicorn.Config(
                datasette.app(),
                host="127.0.0.1",
                port=0,
                log_level="error",
            )
        )

        async def serve():
            await datasette.invoke_startup()
            await server.serve()

        # a loop of its own: the test may have one
        thread = threading.Thread(target=lambda: asyncio.run(serve()))
        thread.start()
        until = time.monotonic() + 20
        while not server.started and time.monotonic() < until:
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            thread.join()
            for database in datasette.databases.values():
                database.close()

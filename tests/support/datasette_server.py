"""A Datasette that serves results files, for the tests of its pages."""

import asyncio
import contextlib
import functools
import gc
import threading
import time
import types
import warnings


@functools.cache
def load():
    """Import Datasette where a test needs it: no other should wait for that."""
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # what it imports is its own affair
        from datasette.app import Datasette
        from datasette.plugins import pm

        from ollama_bench.browsing import datasette_plugin

        gc.collect()  # it leaves a connection open when it is imported
    return types.SimpleNamespace(
        Datasette=Datasette, plugins=pm, ours=datasette_plugin
    )


@contextlib.contextmanager
def plugged_in():
    """Yield Datasette with our plugin, as where the package is installed."""
    loaded = load()
    is_installed = loaded.plugins.has_plugin("ollama_bench")
    if not is_installed:
        loaded.plugins.register(loaded.ours, "ollama_bench")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield loaded.Datasette
            gc.collect()  # its threads leave connections open
    finally:
        if not is_installed:
            loaded.plugins.unregister(name="ollama_bench")


@contextlib.contextmanager
def serving(files):
    """Yield the address of a Datasette of these files on a port of its own."""
    import uvicorn

    with plugged_in() as make_server:
        datasette = make_server([str(file) for file in files])
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

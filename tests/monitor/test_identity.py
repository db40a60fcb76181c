"""What tells a computer from others: the name that its system gives to its present start."""

import sys
import uuid

import pytest

from ollama_bench.monitor import identity


def test_linux_names_its_start(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(identity, "text_of", lambda path: f"{path}\n")
    assert identity.read_identity() == identity.BOOT_ID


def test_macos_names_its_start(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    found = {"kern.bootsessionuuid": b"0926CA7C\0"}
    monkeypatch.setattr(identity.darwin, "read_value", found.get)
    assert identity.read_identity() == "0926CA7C"


@pytest.mark.parametrize("system", ["linux", "darwin", "win32"])
def test_elsewhere_it_is_an_address_of_the_network(monkeypatch, system):
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(identity, "text_of", lambda path: "")
    monkeypatch.setattr(identity.darwin, "read_value", lambda name: None)
    monkeypatch.setattr(uuid, "getnode", lambda: 0x1B63)
    assert identity.read_identity() == "1b63"

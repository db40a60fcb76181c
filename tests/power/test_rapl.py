"""The energy counters of the CPU packages."""

import os
import types

import pytest

from ollama_bench.power.rapl import open_rapl
from ollama_bench.power.sources import find_sources
from tests.power.documents import S
from tests.power.linux_tree import AMD, RAPL, tree


def test_counters_that_an_apu_makes_superfluous_are_closed(tmp_path):
    root = tree(
        tmp_path,
        {
            **{
                name: AMD[name] for name in AMD if "power1_cap" not in name
            },
            **RAPL,
        },
    )
    helper = types.SimpleNamespace(sampler=False, rapl=open_rapl(root))
    (counter,) = helper.rapl
    find_sources(helper, sysfs=root)
    assert helper.rapl == []
    with pytest.raises(OSError):
        os.fstat(counter.descriptor)


def test_rapl_takes_packages_only_and_survives_the_wrap(tmp_path):
    (source,) = find_sources(sysfs=tree(tmp_path, RAPL))
    assert (source.name, source.device) == ("rapl", "package-0")
    source.read(S)
    (tmp_path / "class/powercap/intel-rapl:0/energy_uj").write_text(
        "49671150\n"
    )
    sample = source.read(2 * S)
    assert (
        sample["energy_j"] == pytest.approx(50.0)
        and sample["cpu_energy_j"] == sample["energy_j"]
    )
    source.stop()
    # the descriptor is closed: no sample, no exception
    assert source.read(3 * S) is None


def test_rapl_prefers_the_memory_mapped_twin(tmp_path):
    twin = {
        name.replace("intel-rapl:0/", "intel-rapl-mmio:0/"): content
        for name, content in RAPL.items()
        if "rapl:0/" in name
    }
    twin["class/powercap/intel-rapl-mmio:0/energy_uj"] = 77
    (package,) = open_rapl(tree(tmp_path, {**RAPL, **twin}))
    assert package.read_uj() == 77
    package.close()


def test_rapl_leaves_a_memory_mapped_twin_that_counts_nothing(tmp_path):
    twin = {
        name.replace("intel-rapl:0/", "intel-rapl-mmio:0/"): content
        for name, content in RAPL.items()
        if "rapl:0/" in name
    }
    twin["class/powercap/intel-rapl-mmio:0/energy_uj"] = 0
    (package,) = open_rapl(tree(tmp_path, {**RAPL, **twin}))
    assert package.read_uj() == 262_143_000_000
    package.close()


def test_rapl_that_only_root_may_read_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 501, raising=False)
    root = tree(tmp_path, RAPL)

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    (source,) = find_sources(sysfs=root)
    assert "sudo" in source.status and not hasattr(source, "read")
    # root sees no package either: there is psys alone
    monkeypatch.setattr(os, "geteuid", lambda: 0, raising=False)
    (source,) = find_sources(sysfs=str(tmp_path))
    assert (
        source.status
        == "not read: this machine has no counter of a CPU package"
    )

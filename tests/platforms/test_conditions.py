"""How this machine runs: what each system says of battery, low power mode and virtual machines."""

from __future__ import annotations

import ctypes
import types

import psutil
import pytest

from ollama_bench.platforms import conditions
from ollama_bench.platforms.conditions import ConditionChange

PMSET = """System-wide power settings:
Currently in use:
 standby              1
 Sleep On Power Button 1
 hibernatefile        /var/vm/sleepimage
 powernap             1
 {} {}
 sleep                1 (sleep prevented by sharingd, powerd)
"""


@pytest.mark.parametrize(
    "name", ["lowpowermode        ", "powermode           "]
)
@pytest.mark.parametrize(
    "value, is_on", [("0", False), ("1", True), ("2", False)]
)
def test_pmset(name, value, is_on):
    assert conditions.parse_pmset(PMSET.format(name, value)) is is_on


def test_pmset_without_such_a_mode():
    assert (
        conditions.parse_pmset(PMSET.format("womp", "1")) is None
        and conditions.parse_pmset("") is None
    )


@pytest.mark.parametrize(
    "answer, expected",
    [
        (types.SimpleNamespace(power_plugged=True), False),
        (types.SimpleNamespace(power_plugged=False), True),
        (types.SimpleNamespace(power_plugged=None), None),
        (None, None),
        (RuntimeError(), None),
        (OSError(), None),
        (psutil.Error(), None),
    ],
)
def test_battery(monkeypatch, answer, expected):
    def sensors_battery():
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(conditions.sys, "platform", "darwin")
    monkeypatch.setattr(
        psutil, "sensors_battery", sensors_battery, raising=False
    )
    assert conditions.is_on_battery() is expected


def test_a_system_without_a_way_to_ask_for_a_battery(monkeypatch):
    monkeypatch.setattr(conditions.sys, "platform", "win32")
    monkeypatch.delattr(psutil, "sensors_battery", raising=False)
    assert conditions.is_on_battery() is None


@pytest.mark.parametrize(
    "profile, expected",
    [("low-power\n", True), ("balanced\n", False), (None, None)],
)
def test_linux_profile(monkeypatch, tmp_path, profile, expected):
    monkeypatch.setattr(conditions.sys, "platform", "linux")
    (tmp_path / "firmware/acpi").mkdir(parents=True)
    if profile:
        (tmp_path / "firmware/acpi/platform_profile").write_text(profile)
    assert conditions.is_in_low_power_mode(str(tmp_path)) is expected


@pytest.mark.parametrize(
    "saver, done, expected", [(1, 1, True), (0, 1, False), (1, 0, None)]
)
def test_windows_battery_saver(monkeypatch, saver, done, expected):
    def get(pointer):
        pointer._obj.saver = saver
        return done

    windll = types.SimpleNamespace(
        kernel32=types.SimpleNamespace(GetSystemPowerStatus=get)
    )
    monkeypatch.setattr(conditions.sys, "platform", "win32")
    monkeypatch.setattr(ctypes, "windll", windll, raising=False)
    assert conditions.is_in_low_power_mode() is expected
    assert (
        ctypes.sizeof(conditions.PowerStatus) == 12
        and conditions.is_virtual() is None
    )


def test_a_windows_without_that_call(monkeypatch):
    monkeypatch.setattr(conditions.sys, "platform", "win32")
    monkeypatch.setattr(
        ctypes, "windll", types.SimpleNamespace(), raising=False
    )
    assert conditions.is_in_low_power_mode() is None


def test_a_mac_is_asked_for_its_mode_twice_a_minute_at_most(monkeypatch):
    commands = []

    def output_of(*command, patience_s=None):
        commands.append((command, patience_s))
        return PMSET.format("powermode", "1")

    monkeypatch.setattr(conditions.sys, "platform", "darwin")
    monkeypatch.setattr(conditions, "output_of", output_of)
    monkeypatch.setattr(conditions, "is_on_battery", lambda: None)
    history, changes = conditions.ConditionHistory(), []
    for second in range(1, 61):
        changes += history.check(second * 10**9)
    assert (
        commands
        == [(("/usr/bin/pmset", "-g"), conditions.PMSET_PATIENCE_S)] * 2
    )
    assert changes == [ConditionChange("low_power_mode", True)]
    assert history.since(40 * 10**9) == {
        "on_battery": None,
        "low_power_mode": 1,
    }


def test_what_is_not_known_for_a_moment_is_as_it_was(monkeypatch):
    answers = iter([True, None, True, False])
    monkeypatch.setattr(conditions, "is_on_battery", lambda: next(answers))
    monkeypatch.setattr(
        conditions, "is_in_low_power_mode", lambda *_: None
    )
    history = conditions.ConditionHistory()
    assert [history.check(second) for second in range(4)] == [
        [ConditionChange("on_battery", True)],
        [],
        [],
        [ConditionChange("on_battery", False)],
    ]
    assert [
        history.since(second)["on_battery"] for second in (0, 2, 3)
    ] == [1, 1, 0]


@pytest.mark.parametrize(
    "said, expected", [("1\n", True), ("0\n", False), ("", None)]
)
def test_a_mac_in_a_virtual_machine(monkeypatch, said, expected):
    monkeypatch.setattr(conditions.sys, "platform", "darwin")
    monkeypatch.setattr(
        conditions,
        "output_of",
        lambda *command: (
            said
            if command == ("/usr/sbin/sysctl", "-n", "kern.hv_vmm_present")
            else "?"
        ),
    )
    assert conditions.is_virtual() is expected


@pytest.mark.parametrize(
    "cpuinfo, vendor, product, expected",
    [
        ("flags\t\t: fpu vme hypervisor lahf_lm\n", "", "", True),
        ("flags\t\t: fpu vme\n", "QEMU", "", False),
        ("Features\t: fp asimd\n", "QEMU", "", True),
        (
            "Features\t: fp\n",
            "Apple Inc.",
            "Apple Virtualization Generic Platform",
            True,
        ),
        ("Features\t: fp\n", "Raspberry", "", None),
        ("", "", "", None),
    ],
)
def test_a_linux_in_a_virtual_machine(
    monkeypatch, tmp_path, cpuinfo, vendor, product, expected
):
    monkeypatch.setattr(conditions.sys, "platform", "linux")
    (tmp_path / "class/dmi/id").mkdir(parents=True)
    for name, text in (
        ("class/dmi/id/sys_vendor", vendor),
        ("class/dmi/id/product_name", product),
        ("cpuinfo", cpuinfo),
    ):
        (tmp_path / name).write_text(text)
    assert (
        conditions.is_virtual(str(tmp_path), str(tmp_path / "cpuinfo"))
        is expected
    )


def test_macos_version(monkeypatch):
    monkeypatch.setattr(conditions.sys, "platform", "linux")
    assert conditions.macos_version() == ""
    monkeypatch.setattr(conditions.sys, "platform", "darwin")
    monkeypatch.setattr(
        conditions,
        "output_of",
        lambda *command: (
            "26.1\n"
            if command
            == ("/usr/sbin/sysctl", "-n", "kern.osproductversion")
            else "?"
        ),
    )
    assert conditions.macos_version() == "26.1"


MOUSE = {
    "hidpp_battery_0": "type=Battery scope=Device status=Discharging online=1"
}


@pytest.mark.parametrize(
    ("supplies", "expected"),
    [
        ({}, None),
        (MOUSE, None),
        (
            MOUSE
            | {
                "BAT0": "type=Battery status=Full",
                "ADP1": "type=Mains online=1",
            },
            False,
        ),
        (
            {
                "BAT0": "type=Battery status=Discharging",
                "AC": "type=Mains online=0",
            },
            True,
        ),
        (
            {
                "BAT0": "type=Battery status=Discharging",
                "AC": "type=Mains online=1",
            },
            False,
        ),
        (
            {
                "BAT0": "type=Battery status=Full",
                "BAT1": "type=Battery status=Discharging",
            },
            True,
        ),
        (
            {
                "macsmc-battery": "type=Battery scope=System status=Not_charging"
            },
            False,
        ),
        (
            {
                "BAT0": "type=Battery status=Unknown",
                "AC": "type=Mains online=0",
            },
            None,
        ),
        ({"BAT0": "type=Battery"}, None),
        ({"ups": "type=UPS status=Discharging"}, None),
    ],
)
def test_a_linux_on_its_battery_and_not_on_that_of_a_mouse(
    monkeypatch, tmp_path, supplies, expected
):
    monkeypatch.setattr(conditions.sys, "platform", "linux")
    for name, words in supplies.items():
        folder = tmp_path / "class/power_supply" / name
        folder.mkdir(parents=True)
        for key, _, value in (
            word.partition("=") for word in words.split()
        ):
            (folder / key).write_text(value.replace("_", " ") + "\n")
    assert conditions.is_on_battery(str(tmp_path)) is expected

"""The former module: re-exports for importers that have not moved yet."""

from ollama_bench.power.linux_gpus import is_apu as is_apu
from ollama_bench.power.macmon import create_macmon_source as macmon_source
from ollama_bench.power.macmon import parse_macmon as parse_macmon
from ollama_bench.power.nvidia import decode_name as nvml_text
from ollama_bench.power.nvidia import load_nvml as load_nvml
from ollama_bench.power.powermetrics_command import SAMPLERS as SAMPLERS
from ollama_bench.power.powermetrics_command import build_arguments as powermetrics_arguments
from ollama_bench.power.powermetrics_plist import GpuRail as GpuRail
from ollama_bench.power.powermetrics_plist import parse_plist as parse_plist
from ollama_bench.power.powermetrics_text import parse_text as parse_text
from ollama_bench.power.rapl import open_rapl as open_rapl
from ollama_bench.power.sampler import REFUSALS as REFUSALS
from ollama_bench.power.sampler import STOP_S as STOP_S
from ollama_bench.power.sampler import Child as Child
from ollama_bench.power.source import Absent as Absent
from ollama_bench.power.sources import find_sources as sources
from ollama_bench.power.stream import CHIP_SCOPE as CHIP_SCOPE
from ollama_bench.power.stream import Stream as Stream
from ollama_bench.power.sysfs import find_hwmon as hwmon_of
from ollama_bench.power.sysfs import list_graphics_cards as graphics_cards
from ollama_bench.power.sysfs import read_number as read_number
from ollama_bench.power.sysfs import read_text as read_text
from ollama_bench.power.values import LARGEST as LARGEST

__all__ = [
    "macmon_source",
    "nvml_text",
    "powermetrics_arguments",
    "sources",
    "hwmon_of",
    "graphics_cards",
]

"""The former module: re-exports for importers that have not moved yet."""

from ollama_bench.privilege.helper import STARTS as STARTS
from ollama_bench.privilege.helper import Helper as Helper
from ollama_bench.privilege.helper import split_off as split_off
from ollama_bench.privilege.helper_process import CLEAN_ENVIRONMENT as CLEAN_ENVIRONMENT
from ollama_bench.privilege.sudo import PrivilegeError as PrivilegeError
from ollama_bench.privilege.sudo import act_as_user as users_files
from ollama_bench.privilege.sudo import drop_root as drop
from ollama_bench.privilege.sudo import find_sudo_user as user_of_sudo
from ollama_bench.privilege.variables import recover_variables as recover_variables
from ollama_bench.privilege.variables import recovered as recovered
from ollama_bench.privilege.variables import suggest_preserving as dropped_hint
from ollama_bench.privilege.variables import unknown as unknown

__all__ = ["dropped_hint", "drop", "user_of_sudo", "users_files"]

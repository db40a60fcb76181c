"""Check this machine and its servers, and print what to paste where you ask for help.

    ollama-bench doctor          in a clone: python -m ollama_bench.doctor, or: make doctor
    sudo ollama-bench doctor     with the power that only root can read

First comes what this machine lets the tool see, without names of users, computers and home
folders; then a line for each check: ok, a note, or what is wrong and the command that mends it.
Nothing is stored, and no request is sent to a model. What fails is a line, too.
"""

import sys

from ollama_bench.terminal import interpreter

# Python's version and the packages, before anything needs them
interpreter.check()
from ollama_bench.doctor.program import main

if __name__ == "__main__":
    sys.exit(main())

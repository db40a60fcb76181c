"""The processes above a program under sudo, as psutil shows them."""

import collections

MEANT = {
    "OLLAMA_HOST": "studio:1",
    "OPENAI_API_KEY": "sk-of-the-user",
    "REQUESTS_CA_BUNDLE": "cert.pem",
}


class Ancestor:
    """A process as psutil shows it."""

    def __init__(self, name, uids, environment):
        self._name, self._uids, self._environment = name, uids, environment

    def name(self):
        return self._name

    def uids(self):
        return collections.namedtuple("uids", "real effective saved")(
            *self._uids
        )

    def environ(self):
        if isinstance(self._environment, Exception):
            raise self._environment
        return self._environment


HIDDEN = [
    Ancestor("sudo", (501, 0, 0), {}),
    Ancestor("zsh", (501, 501, 501), {}),
]  # macOS: its own programs show nothing

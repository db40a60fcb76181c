"""The former module: re-exports for tests that have not moved yet."""

from tests.power.documents import TEXT_11 as TEXT_11
from tests.power.documents import document as document

"""docs/options.md: written from the declarations, with every option and no other."""

from tools import describe_options
from tools.option_notes import NOTES


def test_the_page_is_what_the_declarations_say():
    stored = describe_options.PAGE.read_text(encoding="utf-8")
    assert stored == describe_options.text(), (
        "an option has changed: python tools/describe_options.py"
    )


def test_every_option_is_on_the_page():
    text = describe_options.text()
    for name in describe_options.documented():
        flag = name.split()[-1]
        assert flag in text, name


def test_a_note_without_an_option_is_found():
    assert set(NOTES) <= describe_options.documented()


def test_a_cell_stays_a_cell():
    assert describe_options.escape("on|off\nx") == "on\\|off x"

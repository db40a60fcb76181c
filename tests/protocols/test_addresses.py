import pytest

from ollama_bench.protocols.addresses import host_url


@pytest.mark.parametrize(
    "text, url",
    [
        ("localhost", "http://localhost:11434"),
        ("1.2.3.4:80", "http://1.2.3.4:80"),
        (":8080", "http://127.0.0.1:8080"),
        ("http://x", "http://x:80"),
        ("https://x/v1", "https://x:443"),
        ("https://x:8/pre/fix/", "https://x:8/pre/fix"),
        ("[::1]:99", "http://[::1]:99"),
        ("::1", "http://[::1]:11434"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("[::]:5", "http://[::1]:5"),
        (" '127.0.0.1:5' ", "http://127.0.0.1:5"),
        ("", "http://127.0.0.1:11434"),
    ],
)
def test_every_form_of_a_host(text, url):
    assert host_url(text) == url


@pytest.mark.parametrize(
    "text, expected",
    [
        ("ftp://x", "http:// or https://"),
        ("host:99999", "a port from 0 to 65535"),
        ("host:port", "a port from 0 to 65535"),
        ("a b", "host:port"),
        ("user@host", "host:port"),
        ("x<script>", "host:port"),
    ],
)
def test_invalid_host(text, expected):
    with pytest.raises(ValueError) as caught:
        host_url(text)
    assert (
        str(caught.value) == f"invalid host {text!r}: expected {expected}"
    )

"""Why nothing can be served to Prometheus."""


class EndpointError(Exception):
    """The address cannot be used; the text is for the user."""

"""What a browser may do with a page: ask this server alone, and run its scripts only."""

from __future__ import annotations

POLICY = (
    "default-src 'none'; script-src 'self'; "
    # Vega puts styles into its pictures
    "style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; connect-src 'self'; font-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}

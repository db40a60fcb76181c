"""Bytes and instants on the socket: connections, exchanges, recordings, kernel stamps."""

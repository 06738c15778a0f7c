"""Filters for Python proxies and servers: one file a proxy."""

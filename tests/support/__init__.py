"""Support for the tests: running services, clients, proxies and waiting."""

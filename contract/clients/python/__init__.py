"""The session service as a typed client, generated from openapi.yaml, and a client that loses no answer."""

from .attempt import Attempt
from .autosave import Autosave
from .client import AuthenticatedClient, Client

__all__ = ("Attempt", "AuthenticatedClient", "Autosave", "Client")

"""What goes wrong around a service, in short: each scenario with the exact result that is promised."""

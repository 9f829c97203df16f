"""Tests of exports that take long or need tools: spreadsheets, memory, slow clients; a measuring command."""

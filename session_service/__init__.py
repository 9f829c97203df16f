"""The session service of a quiz platform: attempts are started, saved, resumed and ended here."""

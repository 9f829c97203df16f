"""The session service of a quiz platform: starts, saves, resumes and ends attempts."""

"""The web site of the course: `build.py` makes it from the executed notebooks."""

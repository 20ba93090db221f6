"""What builds, executes, checks and publishes the course. Nothing in a notebook imports it."""

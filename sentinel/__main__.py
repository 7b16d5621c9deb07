"""`python -m sentinel` is the `sentinel` command, for places where no script is on the path, such as a Ray job."""

from sentinel.cli.main import run

run()

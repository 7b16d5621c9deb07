"""A Slack of one workspace over HTTP: Web API, incoming webhook, signed clicks, and a page to look at and click."""

from sentinel.sandbox.slack.server import SlackDouble, running

__all__ = ["SlackDouble", "running"]

"""`python -m sentinel.sandbox.slack`: the double on a port of this machine."""

import argparse

import uvicorn

from sentinel.sandbox.slack.server import SlackDouble


def main() -> None:
    """Read the options and serve until stopped."""
    parser = argparse.ArgumentParser(
        prog="python -m sentinel.sandbox.slack", description="A Slack to try Sentinel with."
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8065)
    parser.add_argument("--interactivity-url", default="http://127.0.0.1:8000/slack/events")
    parser.add_argument("--signing-secret", required=True)
    parser.add_argument("--token", required=True)
    parser.add_argument("--webhook-key", default="sandbox", help="last part of the incoming webhook's path")
    options = parser.parse_args()
    double = SlackDouble(
        signing_secret=options.signing_secret,
        token=options.token,
        interactivity_url=options.interactivity_url,
        webhook_key=options.webhook_key,
        seconds_a_message=1.0,
    )
    uvicorn.run(double.app, host=options.host, port=options.port, log_level="warning", access_log=False, ws="none")


if __name__ == "__main__":
    main()

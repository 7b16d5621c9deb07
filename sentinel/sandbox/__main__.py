"""`python -m sentinel.sandbox`: the AWS double and the world in one process group, until SIGTERM or SIGINT."""

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from sentinel.clock import SystemClock
from sentinel.errors import SentinelError
from sentinel.sandbox.aws_double import AwsDouble
from sentinel.sandbox.control import Control
from sentinel.sandbox.estate import TOPOLOGY
from sentinel.sandbox.http_server import LoopbackServer
from sentinel.sandbox.resources import AwsResources
from sentinel.sandbox.sender import Sender
from sentinel.sandbox.shop import Shop
from sentinel.sandbox.world import World

# Well past the detector's grace period of 60 samples a series, and in minutes too few for the daily curve to move.
BACKFILL_SAMPLES = 240


def main(argv: Sequence[str] | None = None) -> int:
    """Run until told to stop; prints one JSON line with addresses, ARNs and ids once AWS is up. 1 on failure."""
    options = _options(argv)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        _run(options, stop)
    except (SentinelError, OSError) as error:
        sys.stderr.write(f"sandbox: {error}\n")
        return 1
    return 0


def _run(options: argparse.Namespace, stop: threading.Event) -> None:
    clock = SystemClock()
    token = Path(options.token_file).read_text(encoding="utf-8").strip() if options.token_file else ""
    ledger = Path(options.ledger) if options.ledger else None
    with AwsDouble(clock, port=options.aws_port, delay_s=options.aws_delay, ledger=ledger) as double:
        estate = double.start()
        reader = AwsResources(double.url, estate)
        sender = Sender(options.sentinel_url, clock, token=token)
        shop = Shop(options.seed, estate.labels())
        world = World(reader=reader, sender=sender, shop=shop, clock=clock, tick_s=options.tick)
        control = LoopbackServer(Control(world, lambda: {"aws_calls": double.calls}).answer, options.control_port)
        sending = threading.Thread(target=sender.run, args=(stop,), name="sender")
        control.start()
        try:
            started = {
                "aws_url": double.url,
                "control_url": control.url,
                "region": estate.region,
                "cluster_arn": estate.cluster_arn,
                "services": list(estate.services),
                "instances": dict(estate.instances),
                "topology": {caller: list(callees) for caller, callees in TOPOLOGY.items()},
                "pid": os.getpid(),
                "moto_pid": double.moto_pid,
            }
            sys.stdout.write(json.dumps(started) + "\n")
            sys.stdout.flush()
            sending.start()
            if options.backfill_samples:
                world.backfill(options.backfill_samples * options.tick / 60, options.tick)
            world.run(stop)
        finally:
            stop.set()
            control.stop()
            if sending.is_alive():
                sending.join()
            sender.close()
            reader.close()


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m sentinel.sandbox", description="A small shop on an AWS double.")
    parser.add_argument("--sentinel-url", required=True, help="where Sentinel's door is, such as http://127.0.0.1:8000")
    parser.add_argument("--aws-port", type=int, default=0, help="port of the AWS API (default: a free one)")
    parser.add_argument("--control-port", type=int, default=0, help="port of the control door (default: a free one)")
    parser.add_argument("--tick", type=_seconds, default=1.0, help="seconds between samples of a series (default 1)")
    parser.add_argument("--aws-delay", type=_seconds, default=1.5, help="seconds that a change on AWS takes")
    parser.add_argument("--seed", type=int, default=7, help="seed of the shop's noise")
    parser.add_argument(
        "--backfill-samples", type=int, default=BACKFILL_SAMPLES, help="history per series at the start"
    )
    parser.add_argument("--token-file", default="", help="file with the API key for Sentinel, if it wants one")
    parser.add_argument("--ledger", default="", help="file that every effectful AWS call is appended to")
    return parser.parse_args(argv)


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value <= 3600:
        raise argparse.ArgumentTypeError(f"got {text}, expected seconds above 0 and up to 3600")
    return value


if __name__ == "__main__":
    sys.exit(main())

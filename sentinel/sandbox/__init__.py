"""A local world to try Sentinel in: a small shop with telemetry, and AWS and Slack doubles over HTTP.

Apart from the product: nothing outside this package and the CLI's demo may import it.
"""

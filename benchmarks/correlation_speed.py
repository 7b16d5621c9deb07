"""placeholder"""


def report() -> str:
    return ""

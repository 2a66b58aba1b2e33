"""How the extras of this package are installed."""


def command(extra: str) -> str:
    """The pip command that installs an extra, such as ``export``."""
    return f'pip install "mmseg_bisenet[{extra}]"'

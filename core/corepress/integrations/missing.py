"""The error of an integration whose package is not installed."""


def missing(extra: str, error: ImportError) -> ImportError:
    """Return an error that names the extra to install."""
    return ImportError(f"corepress.integrations.{extra}: {error}; pip install 'corepress[{extra}]'", name=error.name)

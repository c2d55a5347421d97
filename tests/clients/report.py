"""How a driver says what it found: a line for each thing that it tried."""
import contextlib


@contextlib.contextmanager
def trying(what):
    """What goes wrong inside is said and does not end the driver."""
    try:
        yield
    except Exception as error:
        print(line(what, f"failed: {type(error).__name__}: {error}"), flush=True)
    else:
        print(line(what, "ok"), flush=True)


def line(what, result):
    """One line, however long and broken the result is."""
    return f"{what}\t{' '.join(result.split())[:300]}"

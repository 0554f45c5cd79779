"""A network as a table for people: what every layer puts out, holds and costs."""

from audiocnn.model.architecture import Architecture

HEADINGS = ("layer", "output>", "parameters>", "multiply-adds a window>")


def rows(net: Architecture) -> list[tuple[str, str, str, str]]:
    """Return one row a token below `HEADINGS`, the input before and the sums behind them.

    >>> from audiocnn.model.architecture import parse
    >>> rows(parse("8C3-GAP-*", input_shape=(13, 9, 1), n_labels=3))[2:]
    [('GAP', '8', '', ''), ('*', '3', '27', '24'), ('all', '3 (softmax)', '107', '8,448')]
    """
    shown = [("input", _sizes(net.input_shape), "", "")]
    for layer in net.layers:
        n_params, cost = (f"{n:,}" if n else "" for n in (layer.n_params, layer.multiply_adds))
        shown.append((layer.token, _sizes(layer.output_shape), n_params, cost))
    shown.append(("all", f"{net.n_outputs} ({net.head})", f"{net.n_params:,}", f"{net.multiply_adds:,}"))
    return shown


def _sizes(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))

"""A network without any recording as one HTML page: its layers in a picture, then what it waits for."""

from collections.abc import Mapping, Sequence

from audiocnn.draw import network
from audiocnn.model.bundle import Bundle
from audiocnn.results.explanation.finding import Finding, Section
from audiocnn.results.report import page


def explain(model: Bundle) -> Finding:
    """Return the picture of the network, and the same in numbers."""
    architecture = model.network
    body = page.markup(
        "sections/network.html.j2",
        picture=network.draw(architecture, title=f"The network of {model.info.name}"),
        architecture=architecture,
        cost=network.short(architecture.multiply_adds),
    )
    facts = {
        "notation": architecture.notation,
        "input_shape": list(architecture.input_shape),
        "n_params": architecture.n_params,
        "multiply_adds": architecture.multiply_adds,
        "layers": [
            {
                "name": layer.name,
                "notation": layer.token,
                "output_shape": list(layer.output_shape),
                "n_params": layer.n_params,
                "multiply_adds": layer.multiply_adds,
            }
            for layer in architecture.layers
        ],
    }
    return Finding(Section("network", "The network", body), facts=facts)


def render(model: Bundle, sections: Sequence[Section], settings: Mapping[str, str]) -> str:
    """Return the page."""
    return page.template("network.html.j2").render(
        name=model.info.name,
        labels=model.labels,
        spec=model.spec,
        architecture=model.network,
        sections=sections,
        settings=settings,
        style=page.style(),
    )

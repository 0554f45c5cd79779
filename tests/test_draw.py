"""Drawings: what they show stands where the axes say, and nothing that comes from outside can break them."""

import base64
import io
import itertools
import math
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
import sounds
from numpy.typing import NDArray
from PIL import Image

from audiocnn import config
from audiocnn.draw import charts, spectrogram, svg
from audiocnn.features import frontend
from audiocnn.specs import FeatureSpec

RATE = spectrogram.SAMPLE_RATE
ULTRASONIC = config.read_preset("ultrasonic").features
HOSTILE = "<img src=x onerror=alert(1)> & \"quoted\" 'label' \x00\x1b[31m\u202e"


def tag(name: str) -> str:
    return f"{{http://www.w3.org/2000/svg}}{name}"


def texts(drawing: str) -> list[str]:
    return ["".join(e.itertext()) for e in ET.fromstring(drawing).iter(tag("text"))]


def sine(hz: float, duration_s: float = 1.0) -> NDArray[np.float32]:
    return (0.3 * np.sin(2 * np.pi * hz * np.arange(round(duration_s * RATE)) / RATE)).astype(np.float32)


def picture(drawing: str) -> tuple[ET.Element, NDArray[np.uint8]]:
    """The image element of a spectrogram and its palette indices (n_bands, n_columns), the highest band first."""
    image = next(ET.fromstring(drawing).iter(tag("image")))
    data = base64.b64decode(image.attrib["href"].removeprefix("data:image/png;base64,"))
    return image, np.asarray(Image.open(io.BytesIO(data)))


# Spectrogram


@pytest.mark.parametrize("hz", [250, 500, 1_000, 2_000, 4_000, 8_000])
def test_a_tone_is_drawn_at_the_height_of_its_label_on_the_frequency_axis(hz: int) -> None:
    drawing = spectrogram.draw(sine(hz), RATE, title="tone")
    image, levels = picture(drawing)
    row = int(levels[:, levels.shape[1] // 2].argmax())
    unit_px = spectrogram.HEIGHT_PX / (spectrogram.SPEC.n_mels + 1)  # the stretched area is n_mels + 1 units high
    y_of_tone = (float(image.attrib["y"]) + row + 0.5) * unit_px
    label = f"{hz // 1000} kHz" if hz >= 1000 else f"{hz} Hz"
    y_of_label = next(
        float(e.attrib["y"]) - 4 for e in ET.fromstring(drawing).iter(tag("text")) if "".join(e.itertext()) == label
    )
    assert abs(y_of_tone - y_of_label) <= unit_px


def test_a_click_is_drawn_at_its_time() -> None:
    samples = np.zeros(RATE, np.float32)
    samples[RATE // 4] = 1
    image, levels = picture(spectrogram.draw(samples, RATE, title="click"))
    loud = np.flatnonzero(levels.max(axis=0) == levels.max())
    column_s = float(image.attrib["width"]) / levels.shape[1]
    at_s = float(image.attrib["x"]) + (loud.mean() + 0.5) * column_s
    assert at_s == pytest.approx(0.25, abs=column_s)


def test_a_click_is_as_bright_in_half_a_minute_as_in_a_second() -> None:
    brightest = []
    for duration_s in (1, 30):
        samples = sine(500, duration_s)  # the loudest in both pictures
        samples[RATE // 2] += 0.1
        levels = picture(spectrogram.draw(samples, RATE, title="click"))[1]
        assert levels.shape[1] <= spectrogram.MAX_COLUMNS
        brightest.append(int(levels[: spectrogram.SPEC.n_mels // 4].max()))  # bands that the tone does not reach
    assert brightest[0] > 10
    assert brightest[1] == brightest[0]


@pytest.mark.parametrize("n_samples", [1, 319, 320, 5_000, RATE + 1])
def test_recordings_of_any_length_are_drawn(n_samples: int) -> None:
    drawing = spectrogram.draw(np.full(n_samples, 0.1, np.float32), RATE, title="odd")
    assert picture(drawing)[1].shape == (spectrogram.SPEC.n_mels, 1 + n_samples // spectrogram.SPEC.hop_length)


def test_silence_is_black() -> None:
    assert not picture(spectrogram.draw(np.zeros(RATE, np.float32), RATE, title="silence"))[1].any()


def test_a_recording_twice_as_loud_looks_the_same() -> None:
    once, twice = (spectrogram.draw(gain * sine(700), RATE, title="tone") for gain in (1, 2))
    np.testing.assert_array_equal(picture(once)[1], picture(twice)[1])


def test_samples_at_another_rate_are_refused() -> None:
    with pytest.raises(ValueError, match="44100 Hz"):
        spectrogram.draw(sine(440), 44_100, title="tone")


def test_a_spectrogram_needs_no_librosa(monkeypatch: pytest.MonkeyPatch) -> None:
    def computed(spec: object) -> None:
        raise AssertionError("the constants of the display do not ship with the package")

    monkeypatch.setattr(frontend, "compute", computed)
    assert frontend.make(spectrogram.SPEC).mel.any(axis=0).all()  # and no band of it is empty


@pytest.mark.slow
def test_the_shipped_constants_of_the_display_are_those_of_librosa() -> None:
    np.testing.assert_allclose(frontend.make(spectrogram.SPEC).mel, frontend.compute(spectrogram.SPEC).mel, atol=1e-7)


def test_nothing_above_the_highest_frequency_is_drawn_and_a_tone_stays_at_its_height() -> None:
    drawing = spectrogram.draw(sine(2_000), RATE, title="tone", highest_hz=8_000)
    assert "16 kHz" not in drawing
    assert "8 kHz" in drawing
    levels = picture(drawing)[1]
    at = levels[:, levels.shape[1] // 2].argmax() / len(levels)
    assert at == pytest.approx(spectrogram.y_px(2_000, 8_000) / spectrogram.HEIGHT_PX, abs=0.02)


def features(rate: int, fmin: float = 0.0) -> FeatureSpec:
    """Features of this rate, whose frames fit it."""
    return ULTRASONIC.model_copy(update={"sample_rate": rate, "fmin": fmin})


@pytest.mark.parametrize(("rate", "tick"), [(48_000, 16), (96_000, 32), (192_000, 64), (256_000, 128), (768_000, 256)])
@pytest.mark.parametrize("fmin", [0.0, 8_000.0])
def test_the_view_of_a_higher_rate_reaches_half_of_it_and_has_no_empty_band(rate: int, tick: int, fmin: float) -> None:
    view = spectrogram.drawing_spec(features(rate, fmin))
    drawing = spectrogram.draw(np.zeros(rate // 10, np.float32), rate, title="bat", spec=view)
    assert view.upper_hz == rate / 2
    assert f">{tick} kHz<" in drawing
    assert frontend.make(view).mel.any(axis=0).all()


@pytest.mark.parametrize("highest_hz", [None, 90_000])
def test_a_call_above_hearing_is_drawn_at_the_height_of_its_frequency(highest_hz: float | None) -> None:
    view = spectrogram.drawing_spec(features(256_000, 8_000.0))
    call = sounds.tone(55_000, 0.1, 256_000)
    drawing = spectrogram.draw(call, 256_000, title="bat", spec=view, highest_hz=highest_hz)
    assert ">8 kHz<" in drawing and ">4 kHz<" not in drawing
    assert (">128 kHz<" in drawing) == (highest_hz is None)
    assert "from 8 to" in drawing
    levels = picture(drawing)[1]
    at = levels[:, levels.shape[1] // 2].argmax() / len(levels)
    top_hz = highest_hz or 128_000
    assert at == pytest.approx(spectrogram.y_px(55_000, top_hz, 8_000) / spectrogram.HEIGHT_PX, abs=0.02)
    assert view.n_fft / 256_000 == 0.004


def test_an_axis_begins_where_it_is_told_and_long_ones_are_in_minutes_and_hours() -> None:
    assert "3 s" in svg.time_axis(2.0, y=0, begin_s=2.5)
    assert "0 s" not in svg.time_axis(2.0, y=0, begin_s=2.5)
    assert "10 min" in svg.time_axis(3_000, y=0)
    assert "10 h" in svg.time_axis(36_000, y=0)


# Colour


def test_lightness_rises_evenly_from_the_lowest_to_the_highest_colour() -> None:
    srgb = svg.colour_table(spectrogram.LEVELS) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    lightness = np.where(luminance > 0.008856, 116 * np.cbrt(luminance) - 16, 903.3 * luminance)  # CIE L*
    assert np.all(np.diff(lightness) > 0)
    assert np.abs(lightness - np.linspace(0, 100, spectrogram.LEVELS)).max() < 8


# Strip


def test_the_bars_of_a_strip_are_as_high_as_the_scores_and_as_wide_as_the_windows() -> None:
    starts = np.array([0.0, 1.0, 2.0])
    one = spectrogram.Strip("score", "red", starts, starts + 1, np.array([0.25, 1.0, 0.5]))
    path = re.search(r'd="([^"]*)"', spectrogram.draw_strip(one, duration_s=2.5, y=0))
    assert path
    assert path[1] == "M0 1V0.75H1V0H2V0.5H3V1Z"


def test_windows_after_the_end_of_the_picture_are_left_out() -> None:
    starts = np.arange(5.0)
    one = spectrogram.Strip("score", "red", starts, starts + 1, np.ones(5))
    assert "H2V1Z" in spectrogram.draw_strip(one, duration_s=2.0, y=0)


# Squares and bars


def test_a_point_of_a_square_is_as_far_across_and_up_as_its_shares() -> None:
    drawing = charts.draw_square(
        [(0, 1), (0.25, 0.5)],
        guess=[(0, 0.1), (1, 0.1)],
        title="t",
        description="d",
        x_name="recall",
        y_name="precision",
    )
    guess, curve_ = (e.attrib["d"] for e in ET.fromstring(drawing).iter(tag("path")))
    assert curve_ == f"M0 0L250 {charts.SQUARE_HEIGHT / 2:g}"
    assert guess == f"M0 {0.9 * charts.SQUARE_HEIGHT:g}L1000 {0.9 * charts.SQUARE_HEIGHT:g}"
    assert ET.fromstring(charts.draw_square([], guess=[], title="t", description="d", x_name="x", y_name="y"))


def test_a_bar_is_as_long_as_its_share_and_stays_within_the_drawing() -> None:
    shown = [charts.Bar("x" * 300, 0.25, "25 %", "red"), charts.Bar("b", 1.7, "too much", "red")]
    drawing = charts.draw_bars(shown, title="t", description="d")
    widths = [e.attrib["width"] for e in ET.fromstring(drawing).iter(tag("rect"))]
    assert widths == ["100%", "25%", "100%", "100%"]
    assert all(len(text) < 80 for text in texts(drawing))
    assert ET.fromstring(charts.draw_bars([], title="t", description="d"))


# Curves


def curves(*losses: float) -> str:
    points = [(float(i + 1), y) for i, y in enumerate(losses)]
    return charts.draw_curves(
        [charts.Line("validation", points, "red")],
        title="Loss",
        description="d",
        x_name="epoch",
        mark=2,
        mark_name="kept",
    )


def test_a_curve_goes_down_where_the_loss_does_and_the_mark_stands_at_its_epoch() -> None:
    drawing = curves(2.0, 1.0, 1.5)
    dots = [
        (float(c.attrib["cx"].rstrip("%")), float(c.attrib["cy"])) for c in ET.fromstring(drawing).iter(tag("circle"))
    ]
    assert [x for x, _ in dots] == [0, 50, 100]
    assert dots[0][1] < dots[2][1] < dots[1][1]  # down is a larger y
    assert any(e.attrib["x1"] == e.attrib["x2"] == "50%" for e in ET.fromstring(drawing).iter(tag("line")))


def test_a_loss_that_is_not_a_number_breaks_the_line_and_not_the_drawing() -> None:
    drawing = curves(2.0, float("nan"), 1.5, 1.2)
    assert "nan" not in drawing
    path = next(ET.fromstring(drawing).iter(tag("path"))).attrib["d"]
    assert (path.count("M"), path.count("L")) == (2, 1)


def test_a_single_epoch_and_none_at_all_are_drawn() -> None:
    assert "1" in texts(curves(0.7))
    assert texts(curves())


def test_points_of_a_reliability_diagram_lie_where_score_and_share_are_and_their_intervals_around_them() -> None:
    bins = [charts.ReliabilityBin(0.0, 0.5, 0, 0.0, 0.0), charts.ReliabilityBin(0.5, 1.0, 8, 0.7, 0.75)]
    drawing = ET.fromstring(charts.draw_reliability(bins, title="r", description="d"))
    (point,) = drawing.iter(tag("circle"))
    bottom = next(float(e.attrib["y1"]) for e in drawing.iter(tag("line")))  # the line of 0 %
    assert point.attrib["cx"] == "70%"
    assert float(point.attrib["cy"]) == pytest.approx(0.25 * bottom)
    spine = next(group for group in drawing.iter(tag("g"))).find(tag("line"))
    assert spine is not None
    low, high = charts.wilson_interval(0.75, 8)
    assert [float(spine.attrib[key]) for key in ("y1", "y2")] == pytest.approx(
        [bottom * (1 - low), bottom * (1 - high)], abs=1e-3
    )
    assert "8" in texts(ET.tostring(drawing, encoding="unicode"))


@pytest.mark.parametrize("accuracy", [1.0, 0.0, 0.5])
def test_every_point_of_a_reliability_diagram_has_its_number_and_none_overlap(accuracy: float) -> None:
    bins = [charts.ReliabilityBin(0, 1, 15 + i, 0.9 + i / 100, accuracy) for i in range(10)]
    drawing = ET.fromstring(charts.draw_reliability(bins, title="r", description="d"))
    numbers = [e for e in drawing.iter(tag("text")) if e.text in {str(one.n) for one in bins}]
    places = [(2.7 * float(e.attrib["x"].rstrip("%")), float(e.attrib["y"])) for e in numbers]
    assert len(places) == len(list(drawing.iter(tag("circle")))) == 10
    assert all(abs(x - u) >= 20 or abs(y - v) >= 11.9 for (x, y), (u, v) in itertools.combinations(places, 2))


@pytest.mark.parametrize(("share", "n"), [(0.0, 1), (1.0, 3), (0.5, 40), (0.9, 1000)])
def test_the_interval_of_a_share_holds_it_and_lies_within_0_and_1(share: float, n: int) -> None:
    low, high = charts.wilson_interval(share, n)
    assert 0 <= low <= share <= high <= 1
    assert high > low


def test_a_curve_has_an_interval_at_the_points_that_have_one() -> None:
    line = charts.Line("measured", [(20.0, 0.4), (40.0, 0.5)], "red", ends=[(0.3, 0.5), None])
    drawing = ET.fromstring(charts.draw_curves([line], title="t", description="d", x_name="n", y_high=1.0, height=100))
    (whisker,) = (
        e for e in drawing.iter(tag("line")) if e.attrib.get("stroke") == "red" and "stroke-opacity" in e.attrib
    )
    assert [float(whisker.attrib[key]) for key in ("y1", "y2")] == pytest.approx([70, 50])
    assert whisker.attrib["x1"] == whisker.attrib["x2"] == "0%"


@pytest.mark.parametrize("high", [0.013, 0.1, 1, 7.12, 30, 3_600])
def test_ticks_lie_within_the_axis_evenly_and_are_neither_few_nor_many(high: float) -> None:
    ticks = svg.ticks(0, high, at_most=7)
    assert 3 <= len(ticks) <= 7
    assert ticks[0] == 0
    assert ticks[-1] <= high * (1 + 1e-9)
    np.testing.assert_allclose(np.diff(ticks), ticks[1])


def test_a_curve_may_begin_above_zero_and_leave_its_legend_to_the_page() -> None:
    line = charts.Line("a name", [(1.0, 0.5), (2.0, 1.0)], "red")
    drawing = charts.draw_curves(
        [line], title="t", description="d", x_name="epoch", y_low=0.5, y_high=1.0, height=100, legend=False
    )
    assert [float(c.attrib["cy"]) for c in ET.fromstring(drawing).iter(tag("circle"))] == [100, 0]
    assert "a name" not in drawing


# Scatter


def scattered(*points: tuple[float, float]) -> list[tuple[str, float, float, float]]:
    """Mark, position across in per cent, pixels moved, and height of every point that is drawn, in their order."""
    given = [
        charts.ScatterPoint(x, y, y - 0.1, y + 0.1, f"{i}", f"about {i}", "red")
        for i, (x, y) in enumerate(points, start=1)
    ]
    root = ET.fromstring(charts.draw_scatter(given, title="t", description="d", x_name="parameters"))
    found = []
    for inner in root.iter(tag("svg")):
        if (circle := inner.find(tag("circle"))) is not None:
            x, place = float(inner.attrib["x"].rstrip("%")), circle.attrib
            found.append((inner.findtext(tag("text"), ""), x, float(place["cx"]), float(place["cy"])))
    return sorted(found)


def test_a_point_ten_times_as_costly_is_as_far_away_wherever_it_is_and_a_better_one_is_higher() -> None:
    (_, first, *_, low), (_, second, *_, high), (_, third, *_) = scattered((1e3, 0.5), (1e4, 0.7), (1e5, 0.6))
    assert second - first == pytest.approx(third - second)
    assert 0 < first < second < third < 100
    assert high < low  # down is a larger y


def test_points_of_the_same_cost_stand_side_by_side_and_the_others_where_they_belong() -> None:
    found = scattered((1e6, 0.5), (1e6, 0.5), (2e6, 0.5), (1e6, 0.5))
    assert [dx for _, _, dx, _ in found] == [-18, 0, 0, 18]
    assert len({x for _, x, _, _ in found}) == 2
    alone = scattered(*[(5.0, 0.5)] * 9)
    assert {x for _, x, _, _ in alone} == {50}
    assert np.diff([dx for _, _, dx, _ in alone]).tolist() == [18] * 8


@pytest.mark.parametrize("seed", range(5))
def test_no_point_hides_its_neighbour_on_a_phone_and_their_order_stays(seed: int) -> None:
    rng = np.random.default_rng(seed)
    given = [(float(x), float(y)) for x, y in zip(np.exp(rng.normal(10, 0.2, 8)), rng.random(8), strict=True)]
    places = sorted((x / 100 * 270 + dx, y, given[int(mark) - 1][0]) for mark, x, dx, y in scattered(*given))
    assert [cost for *_, cost in places] == sorted(cost for cost, _ in given)
    for (x, y, _), (next_x, next_y, _) in itertools.pairwise(places):
        assert next_x - x > 6
        assert math.hypot(next_x - x, next_y - y) > 16
    assert places[0][0] > 0
    assert places[-1][0] < 270


def test_an_interval_reaches_from_its_low_to_its_high_end_and_may_be_missing() -> None:
    both = [
        charts.ScatterPoint(10, 0.5, 0.2, 0.6, "1", "a", "red"),
        charts.ScatterPoint(20, 0.4, None, None, "2", "b", "red"),
    ]
    root = ET.fromstring(charts.draw_scatter(both, title="t", description="d", x_name="x"))
    inner = {e.findtext(tag("text")): e for e in root.iter(tag("svg")) if e.find(tag("circle")) is not None}
    spine = inner["1"].find(tag("line"))
    circle = inner["1"].find(tag("circle"))
    assert spine is not None
    assert circle is not None
    top, bottom, middle = float(spine.attrib["y1"]), float(spine.attrib["y2"]), float(circle.attrib["cy"])
    assert (middle - top) / (bottom - top) == pytest.approx(0.25, abs=1e-3)
    assert inner["2"].find(tag("line")) is None
    assert inner["1"].findtext(tag("title")) == "a"


def test_no_points_and_a_single_one_make_a_drawing() -> None:
    assert ET.fromstring(charts.draw_scatter([], title="t", description="d", x_name="x"))
    assert scattered((0.02, 0.5))[0][:3] == ("1", 50.0, 0.0)


@pytest.mark.parametrize(("low", "high"), [(1.2, 1.9), (0.01, 0.05), (8e3, 3e7), (1, 1e12), (9e6, 1.1e7)])
def test_ticks_of_an_axis_of_logarithms_lie_within_it_and_are_neither_few_nor_many(low: float, high: float) -> None:
    ticks = svg.log_ticks(low, high, at_most=5)
    assert 2 <= len(ticks) <= 5
    assert low <= min(ticks) <= max(ticks) <= high


# Whatever comes from outside


def test_hostile_text_in_any_drawing_is_text() -> None:
    ones = np.ones(1)
    drawings = [
        spectrogram.draw(
            sine(440, 0.1), RATE, title=HOSTILE, strips=[spectrogram.Strip(HOSTILE, "red", 0 * ones, 0.1 * ones, ones)]
        ),
        charts.draw_square([(0, 1)], guess=[], title=HOSTILE, description=HOSTILE, x_name=HOSTILE, y_name=HOSTILE),
        charts.draw_bars([charts.Bar(HOSTILE, 0.5, HOSTILE, "red")], title=HOSTILE, description=HOSTILE),
        charts.draw_curves(
            [charts.Line(HOSTILE, [(1, 1)], "red")],
            title=HOSTILE,
            description=HOSTILE,
            x_name=HOSTILE,
            mark_name=HOSTILE,
        ),
        charts.draw_reliability([], title=HOSTILE, description=HOSTILE),
        charts.draw_scatter(
            [charts.ScatterPoint(1, 0.5, 0.4, 0.6, HOSTILE, HOSTILE, "red")],
            title=HOSTILE,
            description=HOSTILE,
            x_name=HOSTILE,
        ),
    ]
    for drawing in drawings:
        root = ET.fromstring(drawing)  # raises unless well-formed
        assert "<img" not in drawing
        assert "\x1b" not in drawing
        assert root.findtext(tag("title"), "").startswith("<img src=x onerror=alert(1)> & \"quoted\" 'label' \\x00")
        assert not [e for e in root.iter() if e.tag == tag("img")]


def test_a_drawing_tells_screen_readers_what_it_shows() -> None:
    root = ET.fromstring(curves(1.0, 0.5))
    assert root.attrib["role"] == "img"
    assert [child.tag for child in root][:2] == [tag("title"), tag("desc")]

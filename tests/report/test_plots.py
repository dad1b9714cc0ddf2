import re
from xml.etree import ElementTree

from polyprompt.report.plots import POINTS, Curve, Dots, curves, dots, heat


def parsed(svg):
    """The elements of an SVG that must be well formed and fit into any page."""
    root = ElementTree.fromstring(svg)
    assert root.tag == "svg"
    assert "viewBox" in root.attrib
    assert "width" not in root.attrib
    assert not re.search(r"https?:|xmlns|<metadata|<!--", svg)
    colours = set(re.findall(r"#[0-9a-fA-F]{6}\b", svg))
    assert not colours, f"colours that no mode of the page can change: {colours}"
    ids = [element.attrib["id"] for element in root.iter() if "id" in element.attrib]
    used = re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', svg)
    assert {a or b for a, b in used} == set(ids)
    assert len(ids) == len(set(ids))
    return root


def texts(root):
    return ["".join(element.itertext()).strip() for element in root.iter("text")]


def ends(svg, colour):
    """First and last y of each line in a colour, in the drawing's units."""
    return [
        (float(ys[0]), float(ys[-1]))
        for path in re.findall(rf'<path d="([^"]+)"[^>]*stroke: var\(--s{colour}\)', svg)
        if (ys := re.findall(r"[ML] [\d.]+ ([\d.]+)", path))
    ]


def test_curves_fall_and_rise_as_their_numbers_do():
    svg = curves([Curve([0, 1, 2], [3, 2, 1], 0), Curve([0, 1, 2], [1, 2, 3], 1, dashed=True)], "loss & <more>")
    root = parsed(svg)
    assert root.attrib["aria-label"] == "loss & <more>"
    ((start, end),), ((start_up, end_up),) = ends(svg, 0), ends(svg, 1)
    assert start < end  # SVG counts downwards
    assert start_up > end_up
    assert svg.count("stroke-dasharray") == 1


def test_long_curves_are_averaged_not_thinned():
    # Alternating 0 and 1 averages to a half everywhere; picking points would give 0 or 1.
    n = 10 * POINTS
    svg = curves([Curve(range(n), [i % 2 for i in range(n)], 0), Curve([0, n], [0, 1], 1)], "x")
    ((low, high),) = ends(svg, 1)
    ((first, last),) = ends(svg, 0)
    assert abs(first - (low + high) / 2) < 0.01 * abs(low - high)
    assert first == last


def test_two_plots_share_no_ids():
    one, two = (curves([Curve([0, 1], [0, y], 0)], f"plot {y}") for y in (1, 2))
    ids = [set(re.findall(r' id="([^"]+)"', svg)) for svg in (one, two)]
    assert ids[0]
    assert not ids[0] & ids[1]


def test_one_dot_per_seed():
    root = parsed(dots([Dots("k = 6 $x$", [1.0, 2.0, 4.0], 0), Dots("日本", [1.5], 1)], "recall"))
    marks = [element.attrib["style"] for element in root.iter("use") if "--s" in element.attrib.get("style", "")]
    assert [sum(f"--s{colour}" in mark for mark in marks) for colour in (0, 1)] == [3, 1]
    assert {"k = 6 $x$", "日本"} <= set(texts(root))


def test_dots_stand_on_an_axis_from_nought():
    root = parsed(dots([Dots("a", [50.0], 0), Dots("b", [50.1], 1)], "recall"))
    assert texts(root)[0] == "0"


def test_a_heat_map_prints_its_numbers_and_colours_by_sign():
    svg = heat([[1.0, -0.5], [-0.5, None]], ["subject", "scene"], "likeness")
    found = texts(parsed(svg))
    assert sorted(found) == sorted(["1.00", "−0.50", "−0.50", "–", *["subject", "scene"] * 2])  # noqa: RUF001
    strengths = re.findall(r"fill: var\(--(warm|cool)\); opacity: ([\d.]+)", svg)
    assert strengths == [("warm", "0.85"), ("cool", "0.425"), ("cool", "0.425")]

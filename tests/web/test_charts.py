"""Charts have round axes, and say in words what they show."""

import xml.etree.ElementTree as ET

import pytest

from mgmt.shown import human_size
from mgmt.web.charts import Bar, Chart, by_month, share, ticks

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize(
    ("largest", "base", "steps"),
    [
        (0, 1000, [0, 1]), (1, 1000, [0, 1]), (3, 1000, [0, 1, 2, 3]), (7, 1000, [0, 2, 4, 6, 8]),
        (99, 1000, [0, 50, 100]), (1000, 1000, [0, 250, 500, 750, 1000]), (6500, 1000, [0, 2000, 4000, 6000, 8000]),
        (1024, 1024, [0, 256, 512, 768, 1024]), (5 << 30, 1024, [0, 2 << 30, 4 << 30, 6 << 30]),
        (999 << 20, 1024, [0, 250 << 20, 500 << 20, 750 << 20, 1000 << 20]),
    ],
)  # fmt: skip
def test_axes_have_few_round_steps(largest: int, base: int, steps: list[int]) -> None:
    assert ticks(largest, base) == steps


@pytest.mark.parametrize("base", [1000, 1024])
def test_every_axis_reaches_the_largest_value_in_at_most_four_steps(base: int) -> None:
    for power in range(62):
        for largest in (1 << power, (1 << power) - 1, (1 << power) * 1.37):
            steps = ticks(largest, base)
            assert steps[-1] >= largest
            assert steps[-2] < max(largest, 1)
            assert 2 <= len(steps) <= 5


def drawn(count: int, *, href: str | None = "#x") -> ET.Element:
    months = [f"{2024 + number // 12}-{number % 12 + 1:02}" for number in range(count)]
    bars = [Bar(month=each, label=f"{each} <&>", parts=(("size", 1 << 30),), href=href) for each in months]
    chart = Chart(name="c", title="A & B", description="It <shows>.", bars=bars, unit=human_size, base=1024)
    return ET.fromstring(str(by_month(chart)).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))


def test_a_chart_names_itself_and_each_bar() -> None:
    svg = drawn(36)
    names = {each.get("id"): each.text for each in svg.iter() if each.get("id")}
    assert [names[each] for each in svg.get("aria-labelledby", "").split()] == ["A & B", "It <shows>."]
    links = list(svg.iter(f"{SVG}a"))
    assert [each.get("aria-label") for each in links][:2] == ["2024-01 <&>", "2024-02 <&>"]
    assert len(links) == 36
    assert svg.get("role") == "group"
    assert drawn(36, href=None).get("role") == "img"


def test_an_axis_has_as_many_labels_as_there_is_room() -> None:
    def labels(count: int) -> list[str | None]:
        return [each.text for each in drawn(count).iter(f"{SVG}text") if each.get("class") != "tick"]

    assert labels(3) == ["Jan", "2024", "Feb", "Mar"]
    assert labels(24) == ["Jan", "2024", "Apr", "Jul", "Oct", "Jan", "2025", "Apr", "Jul", "Oct"]
    assert labels(60) == ["2024", "2025", "2026", "2027", "2028"]
    assert labels(0) == []


def test_a_chart_of_three_years_is_small() -> None:
    assert len(ET.tostring(drawn(36))) < 12_000


def test_a_share_is_visible_unless_it_is_nothing() -> None:
    assert 'width="50.00%"' in share(1, 2)
    assert 'width="0.40%"' in share(1, 10**9)
    assert 'width="0.00%"' in share(0, 10)
    assert 'width="0.00%"' in share(0, 0)

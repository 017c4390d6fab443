import pytest

from cli import figures


@pytest.mark.parametrize(
    ("shown", "wanted"),
    [
        (figures.or_absent(figures.watts, None), "-"),
        (figures.or_absent(figures.watts, 0.0), "0 W"),
        (figures.watts(1234.4), "1,234 W"),
        (figures.percent(0.985), "98 %"),
        (figures.energy(359_999.0), "359,999 J"),
        (figures.energy(3_600_000.0), "1.00 kWh"),
        (figures.size(0), "0 B"),
        (figures.size(1023), "1023 B"),
        (figures.size(1024), "1.0 KiB"),
        (figures.size(80 * 1024**3), "80.0 GiB"),
        (figures.size(5000 * 1024**4), "5000.0 TiB"),
        (figures.dollars(0.00042), "$0.0004"),
        (figures.dollars(1234.567), "$1,234.57"),
        (figures.dollars_per_hour(3.9), "$3.90/h"),
        (figures.duration(47.9), "47 s"),
        (figures.duration(720), "12 min"),
        (figures.duration(12_000), "3 h 20 min"),
        (figures.duration(446_400), "5 d 4 h"),
        (figures.gpu_time(3723), "1:02:03"),
        (figures.gpu_time(3_600_000), "1,000:00:00"),
    ],
)
def test_figure_reads(shown, wanted):
    assert shown == wanted

import pytest

from collectors.errors import Misconfigured
from collectors.gpu_model import canonical_model
from collectors.gpu_peaks import BUNDLED_PEAKS, COLUMNS, load_peaks, peak_flop_per_second


@pytest.mark.parametrize(
    ("name", "tera"),
    [
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H100 NVL", 835),
        ("NVIDIA H200", 989),
        ("NVIDIA H200 NVL", 835),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA A100 80GB PCIe", 312),
        ("Tesla V100-SXM2-16GB", 125),
        ("Tesla V100-PCIE-32GB", 112),
        ("Tesla V100S-PCIE-32GB", 130),
        ("Tesla T4", 65),
        ("NVIDIA L4", 121),
        ("NVIDIA B200", 2250),
    ],
)
def test_a_chip_has_its_published_peak(name, tera):
    assert peak_flop_per_second(name) == tera * 10**12


@pytest.mark.parametrize("name", ["NVIDIA GeForce RTX 4090", "NVIDIA A10G", "a chip of tomorrow", ""])
def test_a_chip_that_is_not_in_the_table_has_none(name):
    assert peak_flop_per_second(name) is None


def test_every_model_of_the_table_is_one_that_a_driver_may_name(request):
    named = {"H100-NVL-94GB": "H100 NVL", "GH200-96GB": "GH200 480GB", "GH200-144GB": "GH200 144GB HBM3e"}
    for model, _ in load_peaks():
        assert canonical_model(named.get(model, model.replace("-", " "))) == model


def test_every_source_is_named_on_the_page_of_sources(request):
    page = (request.config.rootpath / "DATA-SOURCES.md").read_text(encoding="utf-8")
    sources = {line.split(",")[3] for line in BUNDLED_PEAKS.read_text(encoding="utf-8").splitlines()[1:]}
    assert [source for source in sorted(sources) if f"`{source}`" not in page] == []


@pytest.mark.parametrize("row", ["T4,*,65", "T4,*,,s", "T4,*,0,s", "T4,*,6.5,s", "T4,*,65,s\nT4,*,66,s"])
def test_a_malformed_table_is_refused_whole_with_its_line(tmp_path, row):
    table = tmp_path / "peaks.csv"
    table.write_text(f"{','.join(COLUMNS)}\n{row}\n", encoding="utf-8")
    with pytest.raises(Misconfigured, match=r"peaks.csv: line [23]: (found|T4)"):
        load_peaks(table)


def test_a_table_with_other_columns_is_refused(tmp_path):
    table = tmp_path / "peaks.csv"
    table.write_text("a,b\n", encoding="utf-8")
    with pytest.raises(Misconfigured, match="line 1: found other columns"):
        load_peaks(table)

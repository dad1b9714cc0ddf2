import time

import pytest
import torch

from polyprompt.nn import precision
from polyprompt.nn.precision import choice, choose_precision, matmul_peak


def test_bf16_is_chosen_where_it_pays_and_the_sentence_gives_the_figures():
    fast = choice(fp32=100.0, bf16=420.0)
    assert fast.precision == "bf16"
    assert "4.2 times faster" in fast.sentence
    assert "420" in fast.sentence
    assert "Set precision to fp32" in fast.sentence
    slow = choice(fp32=100.0, bf16=20.0)
    assert slow.precision == "fp32"
    assert "0.2 times as fast" in slow.sentence
    assert choice(fp32=100.0, bf16=120.0).precision == "fp32"


def test_this_machine_is_measured_once_and_quickly():
    precision._measured.cache_clear()
    began = time.perf_counter()
    measured = choose_precision()
    assert time.perf_counter() - began < 1.0
    assert measured.fp32 > 0.1
    assert measured.bf16 > 0.01
    assert choose_precision("cpu") is measured


def test_the_peak_is_the_fastest_product_in_billions_of_operations(monkeypatch):
    seconds = {100: iter([1.0, 0.004, 0.002, 0.9]), 200: iter([1.0, 0.5, 0.5])}
    monkeypatch.setattr(precision, "_seconds", lambda matrix: next(seconds[len(matrix)]))
    # the first time of a size is not counted: it pays for preparations
    assert matmul_peak(sizes=(100,), seconds=1.9) == pytest.approx(2 * 100**3 / 0.002 / 1e9)
    assert matmul_peak(sizes=(200,), seconds=0.1) == pytest.approx(2 * 200**3 / 0.5 / 1e9)


def test_a_product_is_really_made_and_its_time_grows_with_its_size():
    small, large = (min(precision._seconds(torch.ones(n, n)) for _ in range(3)) for n in (32, 512))
    assert large > small

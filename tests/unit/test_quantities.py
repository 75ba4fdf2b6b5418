"""Quantities: what is written is what is counted, and nothing else passes."""

from __future__ import annotations

import contextlib
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subgrpc import quantities
from subgrpc.quantities import format_bytes, format_cpu, parse_bytes, parse_cpu, show_bytes


@pytest.mark.parametrize(
    ("text", "millicores"),
    [
        ("2", 2000),
        ("0.5", 500),
        ("500m", 500),
        ("1m", 1),
        (".25", 250),
        ("1.", 1000),
        ("64", 64000),
    ],
)
def test_cpu_is_counted_in_millicores(text: str, millicores: int) -> None:
    """Cores and millicores are the same quantity."""
    assert parse_cpu(text) == millicores


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("2", 2),
        ("10B", 10),
        ("1k", 1000),
        ("1kB", 1000),
        ("1KB", 1000),
        ("1Ki", 1024),
        ("1KiB", 1024),
        ("512M", 512 * 10**6),
        ("512Mi", 512 * 2**20),
        ("20GB", 20 * 10**9),
        ("20Gi", 20 * 2**30),
        ("1.5G", 1_500_000_000),
        ("0.1Ki", 103),  # 102.4: rounded up
        ("7Ei", 7 * 2**60),
    ],
)
def test_bytes_follow_kubernetes_and_the_habit_of_gb(text: str, size: int) -> None:
    """Binary units are powers of 1024, decimal ones of 1000, with or without a B."""
    assert parse_bytes(text) == size


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is not a quantity"),
        ("0", "no processor at all"),
        ("0m", "no processor at all"),
        ("-1", "is not a quantity"),
        ("nan", "is not a quantity"),
        ("inf", "is not a quantity"),
        ("1e3", "is not a quantity"),
        ("0.0001", "finer than"),
        ("1.5m", "finer than"),
        ("2 ", "is not a quantity"),
        ("2\n", "is not a quantity"),
        ("٢", "is not a quantity"),
        ("2Gi", "has the unit 'Gi'"),
        ("9" * 20, "more than"),
        ("9" * 5000, "is not a quantity"),
    ],
)
def test_an_impossible_cpu_is_refused_with_the_reason(text: str, told: str) -> None:
    """The error says what was found and how cores are written."""
    with pytest.raises(ValueError, match=told) as caught:
        parse_cpu(text)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is not a quantity"),
        ("0", "no memory at all"),
        ("0Gi", "no memory at all"),
        ("0.5", "not a whole number of bytes"),
        ("20gb", "did you mean 'GB'"),
        ("20gib", "did you mean 'GiB'"),
        ("500m", "thousandths of a byte"),
        ("20 Gi", "is not a quantity"),
        ("-5Gi", "is not a quantity"),
        ("20Zi", "has the unit 'Zi'"),
        ("8Ei", "more than 2"),
        ("infGi", "is not a quantity"),
    ],
)
def test_an_impossible_size_is_refused_with_the_reason(text: str, told: str) -> None:
    """The error says what was found, what was probably meant, and how bytes are written."""
    with pytest.raises(ValueError, match=told):
        parse_bytes(text)


@given(st.integers(1, quantities.MAX_MILLICORES))
def test_a_written_cpu_reads_the_same(millicores: int) -> None:
    """Nothing is rounded between two programs."""
    assert parse_cpu(format_cpu(millicores)) == millicores


@given(st.integers(1, quantities.MAX_BYTES))
def test_a_written_size_reads_the_same(size: int) -> None:
    """Nothing is rounded between two programs."""
    assert parse_bytes(format_bytes(size)) == size


@given(
    st.integers(1, 10**9), st.integers(0, 6), st.sampled_from(["Ki", "Mi", "Gi", "k", "M", "GB"])
)
def test_arithmetic_is_exact(digits: int, scale: int, unit: str) -> None:
    """The size is the exact product rounded up: no binary fraction comes between."""
    exact = Fraction(digits, 10**scale) * parse_bytes(f"1{unit}")
    text = f"{digits // 10**scale}.{digits % 10**scale:0{scale}d}" if scale else str(digits)
    assert parse_bytes(f"{text}{unit}") == -(-exact.numerator // exact.denominator)


@given(st.text(max_size=40))
def test_any_text_is_a_quantity_or_a_clear_error(text: str) -> None:
    """No text crashes the parser, or comes out as 0 or less."""
    for parse in (parse_cpu, parse_bytes):
        with contextlib.suppress(ValueError):
            assert parse(text) > 0


def test_sizes_are_shown_to_people_in_three_figures() -> None:
    """A person reads 15.6 GiB, not 16303420Ki."""
    assert show_bytes(16_750_372_455) == "15.6 GiB"
    assert show_bytes(0) == "0 B"
    assert show_bytes(1023) == "0.999 KiB"
    assert show_bytes(1024 * 1024) == "1 MiB"

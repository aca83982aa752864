"""The text of /metrics: a real one of vLLM 0.32, several engines behind one URL, and everything that is none."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from p2p.base.serving_limits import MAX_METRICS, MAX_METRICS_LINE
from p2p.scheduling.metrics import MOST, NAMES, Metrics, parse_metrics

# recorded from vLLM 0.32 on a CPU: six answers asked for, --max-num-seqs 4, a KV cache of 1 GiB
REAL = (Path(__file__).parent / "vllm_0_32_metrics.txt").read_text()


def test_a_real_text() -> None:
    found = parse_metrics(REAL)
    assert (found.running, found.waiting, found.kv_tokens) == (4, 2, 46592)
    assert found.kv_usage is not None
    assert 0.011 < found.kv_usage < 0.0111
    assert found.kv_used == 514
    assert (found.made, found.preempted) == (76, 0)


def test_engines_behind_one_url_are_added_up_and_their_usage_is_the_mean() -> None:
    lines = [
        f'{name}{{engine="{engine}",model_name="m"}} {value}'
        for name, values in (
            ("vllm:num_requests_running", (3, 4)), ("vllm:num_requests_waiting", (0, 1)),
            ("vllm:kv_cache_usage_perc", (0.25, 0.75)),
        )
        for engine, value in enumerate(values)
    ]
    lines += [f'vllm:cache_config_info{{block_size="16",engine="{at}",num_gpu_blocks="100"}} 1.0' for at in (0, 1)]
    assert parse_metrics("\n".join(lines)) == Metrics(7, 1, 3200, 0.5)


def test_what_lets_others_pass_does_not_wait_for_room() -> None:
    """Else checks that sit out would keep answers from an engine that has room for them."""
    both = REAL.replace('reason="capacity"} 2.0', 'reason="capacity"} 1.0').replace(
        'reason="deferred"} 0.0', 'reason="deferred"} 1.0'
    )
    assert parse_metrics(both).waiting == 1
    assert parse_metrics(both.replace('reason="deferred"} 1.0', 'reason="deferred"} 9.0')).waiting == 0
    assert parse_metrics(both.replace('reason="deferred"} 1.0', 'reason="deferred"} NaN')).waiting == 2


def test_blocks_times_their_size_is_taken_only_where_the_capacity_is_not_said() -> None:
    both = 'vllm:cache_config_info{block_size="16",kv_cache_size_tokens="999",num_gpu_blocks="100"} 1'
    assert parse_metrics(both).kv_tokens == 999
    assert parse_metrics(both.replace('"999"', '"None"')).kv_tokens == 1600
    assert parse_metrics('vllm:cache_config_info{block_size="16",num_gpu_blocks="None"} 1').kv_tokens is None


def test_what_is_not_said_is_not_known() -> None:
    assert parse_metrics("") == Metrics()
    assert Metrics().kv_used is None
    assert parse_metrics("# HELP python_info\npython_info 1\n") == Metrics()


def test_nonsense_is_not_known() -> None:
    for value in ("NaN", "+Inf", "-1", "1e300", "x", "", "1 2 3", "\u0661"):
        assert parse_metrics(f"vllm:num_requests_running {value}").running is None, value
    assert parse_metrics("vllm:kv_cache_usage_perc 7.5").kv_usage == 1.0
    assert parse_metrics('vllm:num_requests_running{a="\\"} 5",b="x"} 1').running == 1, "quotes within a label"


def test_a_long_text_is_read_in_part() -> None:
    wanted = "vllm:num_requests_running 3\n"
    assert parse_metrics("x" * MAX_METRICS + "\n" + wanted).running is None
    assert parse_metrics("x 1\n" * 100_000 + wanted).running is None
    long = f'vllm:num_requests_waiting{{a="{"y" * MAX_METRICS_LINE}"}} 1\n'
    assert parse_metrics(long + wanted) == Metrics(running=3)
    for part in ('a="', ' ', '}', '} ', 'a', '\\'):  # no pattern that takes long
        parse_metrics('vllm:cache_config_info{' + part * (MAX_METRICS_LINE // len(part) - 30))


@given(st.text() | st.lists(
    st.tuples(st.sampled_from(sorted(NAMES)), st.text(max_size=30), st.floats() | st.text(max_size=8)), max_size=20,
).map(lambda rows: "\n".join(f"{name}{{{labels}}} {value}" for name, labels, value in rows)))
def test_no_text_raises_and_every_number_is_sane(text: str) -> None:
    found = parse_metrics(text)
    for number in (found.running, found.waiting, found.kv_tokens, found.made, found.preempted):
        assert number is None or 0 <= number <= 20 * MOST
    assert found.kv_usage is None or 0 <= found.kv_usage <= 1

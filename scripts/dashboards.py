"""Writes monitoring/dashboards/*.json, dashboards for Grafana: run it after a change of the tables here.

Law: every panel says in one sentence what it is for, and every expression names metrics that exist; tests/docs checks
both, and that the files are what this program writes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent.parent / "monitoring" / "dashboards"
WHERE = '{instance=~"$instance"}'
WIDTH, HEIGHT = 8, 7  # of a panel, in Grafana's grid of 24 columns

Panel = tuple[str, str, str, tuple[tuple[str, str], ...]]  # title, sentence, unit, (expression, legend)


def rate(metric: str, labels: str = "") -> str:
    inside = 'instance=~"$instance"' + (f",{labels}" if labels else "")
    return f"rate({metric}{{{inside}}}[$__rate_interval])"


def quantile(share: float, metric: str) -> str:
    return f"histogram_quantile({share}, sum by (le) ({rate(metric + '_bucket')}))"


def now(metric: str) -> str:
    return metric + WHERE


EACH = "{{instance}}"
HOST: tuple[Panel, ...] = (
    ("State", "Which state the peer is in: ready is well.", "short", ((now("folkmoot_state") + " == 1", "{{state}}"),)),
    ("Answers", "Requests to the executor a second, by how they ended.", "reqps",
     ((f"sum by (outcome) ({rate('folkmoot_executor_requests_total')})", "{{outcome}}"),)),
    ("Tokens", "Tokens made for paid requests, a second.", "short", ((rate("folkmoot_executor_tokens_total"), EACH),)),
    ("Time to first token", "From a request's arrival: median and worst of twenty.", "s",
     ((quantile(0.5, "folkmoot_executor_first_token_seconds"), "median"),
      (quantile(0.95, "folkmoot_executor_first_token_seconds"), "95 %"))),
    ("Length of requests", "From arrival to the end: median and worst of twenty.", "s",
     ((quantile(0.5, "folkmoot_executor_request_seconds"), "median"),
      (quantile(0.95, "folkmoot_executor_request_seconds"), "95 %"))),
    ("Jobs", "On the ML nodes, and waiting: a queue that stays means more ML nodes pay.", "short",
     ((now("folkmoot_scheduler_running"), "running"), (now("folkmoot_scheduler_waiting"), "waiting"))),
    ("ML nodes", "By state: all should be ready.", "short", ((now("folkmoot_ml_nodes"), "{{state}}"),)),
    ("KV cache", "Share in use of the fullest ML node.", "percentunit",
     ((now("folkmoot_engine_kv_used_ratio"), EACH),)),
    ("Engine", "Requests in the engine's batch and queue, as it counts.", "short",
     ((now("folkmoot_engine_running"), "running"), (now("folkmoot_engine_waiting"), "waiting"))),
    ("Owner's balance", "Of the account that registered the node, in credits.", "short",
     ((now("folkmoot_owner_balance_microcredits") + " / 1e6", EACH),)),
    ("Disputes", "Open disputes about answers of this host: each needs a look.", "short",
     ((now("folkmoot_open_disputes"), EACH),)),
    ("Price", "Of a token of the host's model, in micro-credits.", "short",
     ((now("folkmoot_price_microcredits"), EACH),)),
    ("CPU", "Cores in use by the peer; the engine is another process.", "short",
     ((rate("process_cpu_seconds_total"), EACH),)),
    ("Memory", "Of the peer's process.", "bytes", ((now("process_resident_memory_bytes"), EACH),)),
    ("Disk", "Room left, and the store.", "bytes",
     ((now("folkmoot_disk_free_bytes"), "free"), (now("folkmoot_store_bytes"), "store"))),
)
VALIDATOR: tuple[Panel, ...] = (
    ("Height", "Of the newest block: it should climb without steps.", "short", ((now("folkmoot_height"), EACH),)),
    ("Age of the newest block", "More than a minute means the chain or this peer stands still.", "s",
     (("time() - " + now("folkmoot_block_timestamp_seconds"), EACH),)),
    ("Block interval", "Between two blocks: median and worst of twenty.", "s",
     ((quantile(0.5, "folkmoot_block_interval_seconds"), "median"),
      (quantile(0.95, "folkmoot_block_interval_seconds"), "95 %"))),
    ("Blocks without its signature", "Share of blocks whose certificate lacks this validator.", "percentunit",
     ((f"{rate('folkmoot_blocks_unsigned_total')} / {rate('folkmoot_blocks_total')}", EACH),)),
    ("Extra rounds", "A second; some are normal when a proposer is away.", "short",
     ((rate("folkmoot_extra_rounds_total"), EACH),)),
    ("Signs", "Whether it is a validator, and whether it only observes.", "short",
     ((now("folkmoot_validator"), "validator"), (now("folkmoot_observing"), "observing"))),
    ("Duties", "Checks and reveals that are due now.", "short", ((now("folkmoot_duties"), EACH),)),
    ("Checks", "A second, by verdict.", "short",
     ((f"sum by (verdict) ({rate('folkmoot_checks_total')})", "{{verdict}}"),
      (rate("folkmoot_checks_not_done_total"), "not done"))),
    ("Length of checks", "Median and worst of twenty.", "s",
     ((quantile(0.5, "folkmoot_check_seconds"), "median"), (quantile(0.95, "folkmoot_check_seconds"), "95 %"))),
    ("Clock", "How far it is ahead of the network's; half a second costs turns.", "s",
     ((now("folkmoot_clock_lag_seconds"), EACH),)),
    ("Weight and collateral", "Of the node.", "short",
     ((now("folkmoot_node_weight"), "weight"), (now("folkmoot_collateral_microcredits") + " / 1e6", "credits"))),
    ("Evidence and twins", "Anything but 0 needs a look at once.", "short",
     ((now("folkmoot_evidence"), "evidence"), (now("folkmoot_twin"), "twin"))),
    ("Late", "How late the event loop runs; work but consensus waits above 10 ms.", "s",
     ((now("folkmoot_loop_late_seconds"), EACH),)),
    ("Records", "Waiting for a batch, and batches no block has yet.", "short",
     ((now("folkmoot_outbox_records"), "records"), (now("folkmoot_outbox_batches"), "batches"))),
    ("Parts that failed", "Since the start of the process.", "short", ((now("folkmoot_part_failures_total"), EACH),)),
)
NETWORK: tuple[Panel, ...] = (
    ("Peers", "That answer Prometheus.", "short", (('sum(up{job="folkmoot"})', "up"),)),
    ("Height", "Of each peer: the lines should lie on each other.", "short", ((now("folkmoot_height"), EACH),)),
    ("Heights a minute", "Of the network.", "short", (("60 * max(" + rate("folkmoot_blocks_total") + ")", "heights"),)),
    ("Transactions", "A second, in blocks.", "short",
     (("max(" + rate("folkmoot_block_transactions_total") + ")", "transactions"),)),
    ("Requests", "Of clients at all agents here, by how they ended.", "reqps",
     ((f"sum by (outcome) ({rate('folkmoot_agent_requests_total')})", "{{outcome}}"),)),
    ("Tokens", "A second, all executors here.", "short",
     ((f"sum({rate('folkmoot_executor_tokens_total')})", "tokens"),)),
    ("Verdicts", "A second, by verdict.", "short",
     ((f"sum by (verdict) ({rate('folkmoot_checks_total')})", "{{verdict}}"),)),
    ("Connections", "Of each peer.", "short", ((now("folkmoot_connections"), EACH),)),
    ("Ends of connections", "A second, by why.", "short",
     ((f"sum by (why) ({rate('folkmoot_connections_ended_total')})", "{{why}}"),)),
    ("Gossip", "Bytes a second that come, by topic.", "Bps",
     ((f"sum by (topic) ({rate('folkmoot_gossip_bytes_total')})", "{{topic}}"),)),
    ("Meshes", "Peers in the mesh of each topic, the least of all peers.", "short",
     (("min by (topic) (" + now("folkmoot_gossip_mesh_peers") + ")", "{{topic}}"),)),
    ("Shed", "Messages not sent for want of room, a second.", "short",
     ((f"sum by (priority) ({rate('folkmoot_gossip_shed_total')})", "{{priority}}"),)),
    ("Refused", "Requests of strangers above a budget, a second, by resource.", "short",
     ((f"sum by (resource) ({rate('folkmoot_budget_refused_total')})", "{{resource}}"),)),
    ("Mempool", "Transactions that wait.", "short", ((now("folkmoot_mempool_transactions"), EACH),)),
    ("Reach", "Peers that others can dial, and not.", "short",
     (("sum by (verdict) (" + now("folkmoot_reach") + ")", "{{verdict}}"),)),
)
BOARDS = {"host": ("Folkmoot host", HOST), "validator": ("Folkmoot validator", VALIDATOR),
          "network": ("Folkmoot network", NETWORK)}
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def panel(number: int, given: Panel) -> dict[str, Any]:
    title, says, unit, lines = given
    return {
        "id": number + 1, "type": "timeseries", "title": title, "description": says, "datasource": _SOURCE,
        "gridPos": {"x": number % 3 * WIDTH, "y": number // 3 * HEIGHT, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0, "custom": {"fillOpacity": 10}}, "overrides": []},
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "targets": [
            {"refId": chr(65 + at), "expr": words, "legendFormat": legend, "datasource": _SOURCE, "range": True}
            for at, (words, legend) in enumerate(lines)
        ],
    }


def dashboard(name: str) -> dict[str, Any]:
    title, panels = BOARDS[name]
    choice = {"includeAll": name == "network", "multi": name == "network"}
    return {
        "uid": f"folkmoot-{name}", "title": title, "tags": ["folkmoot"], "schemaVersion": 39, "version": 1,
        "editable": True, "graphTooltip": 1, "refresh": "30s", "timezone": "browser",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": [
            {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"},
            {"name": "instance", "type": "query", "label": "Peer", "datasource": _SOURCE, "refresh": 2,
             "query": {"query": 'label_values(up{job="folkmoot"}, instance)', "refId": "peers"}, **choice},
        ]},
        "panels": [panel(at, one) for at, one in enumerate(panels)],
    }


def text_of(name: str) -> str:
    return json.dumps(dashboard(name), indent=1) + "\n"


if __name__ == "__main__":
    for each in BOARDS:
        (HERE / f"{each}.json").write_text(text_of(each))
        print(f"{each}: {len(BOARDS[each][1])} panels")

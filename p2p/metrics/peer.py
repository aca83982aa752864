"""All metrics of a peer.

Law: names and labels are an interface: dashboards, alerts and docs/metrics.md rest on them, and a test compares them.

Units are seconds, bytes and micro-credits. A counter begins at zero when the process starts.
"""

from __future__ import annotations

from p2p.base.limits import BUDGETS
from p2p.metrics.registry import OTHER, Named, counter, gauge, histogram

STATES = ("joining", "loading", "ready", "draining")
TOPICS = ("votes", "proposals", "transactions", OTHER)
SHED = ("votes", "proposals", "transactions", "adverts", "ihave", OTHER)
ENDS = (
    "lost", "silent", "mute", "banned", "overload", "unread", "full", "refused", "replaced", "asked", OTHER,
)
RESOURCES = tuple(name.replace(" ", "_") for name in BUDGETS)
REACH = ("reachable", "not reachable", "unknown")
ANSWERS = ("answered", "refused", "left", "failed")
VERDICTS = ("valid", "invalid", "withheld")
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_BLOCKS = (0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0)

# -- the peer
INFO = gauge("folkmoot_state", "1 for the state that the peer is in.", state=STATES)
FAILURES = counter("folkmoot_part_failures_total", "Failures of parts of the peer that were started again.")
PARTS_DOWN = gauge("folkmoot_parts_waiting", "Parts of the peer that failed and wait for their next start.")
LATE = gauge("folkmoot_loop_late_seconds", "How late the event loop runs.")
STRAIN = gauge("folkmoot_strain_ratio", "How much longer work takes than on time; 1 is on time.")

# -- consensus
HEIGHT = gauge("folkmoot_height", "Height of the newest block here.")
BLOCK_TIME = gauge("folkmoot_block_timestamp_seconds", "Time of the newest block, in seconds since 1970.")
BLOCKS = counter("folkmoot_blocks_total", "Blocks decided or fetched since the start.")
INTERVAL = histogram("folkmoot_block_interval_seconds", "Between the times of two blocks.", _BLOCKS)
ROUNDS = counter("folkmoot_extra_rounds_total", "Rounds that heights needed beyond their first.")
TRANSACTIONS = counter("folkmoot_block_transactions_total", "Transactions in blocks.")
REFUSED = counter("folkmoot_refused_records_total", "Records of this peer that a block refused.")
ROUND = gauge("folkmoot_consensus_round", "Round of the height that is being decided.")
IS_VALIDATOR = gauge("folkmoot_validator", "1 if this peer votes at this height.")
OBSERVING = gauge("folkmoot_observing", "1 while this peer signs nothing because its key may have signed elsewhere.")
UNSIGNED = counter(
    "folkmoot_blocks_unsigned_total", "Blocks whose certificate here lacks this validator's signature.",
)
EVIDENCE = gauge("folkmoot_evidence", "Pieces of evidence of misbehaviour that no block has yet.")
VOTE_STREAMS = gauge("folkmoot_vote_streams", "Streams of votes to other peers.")
QUEUE_DROPS = counter("folkmoot_consensus_dropped_total", "Messages that found the queue of consensus full.")
CLOCK_LAG = gauge("folkmoot_clock_lag_seconds", "How far this machine's clock is ahead of the network's.")
CLOCK_WRONG = gauge("folkmoot_clock_wrong", "1 while this machine's clock seems to be off.")

# -- gossip and connections
CONNECTIONS = gauge("folkmoot_connections", "Connected peers.")
DIALS = counter("folkmoot_dials_total", "Dials of other peers.")
DIALS_FAILED = counter("folkmoot_dials_failed_total", "Dials that failed.")
KNOWN = gauge("folkmoot_known_peers", "Peers in the address book.")
ENDED = counter("folkmoot_connections_ended_total", "Connections that ended, by why.", why=ENDS)
BANNED = gauge("folkmoot_banned_peers", "Peers that this one refuses for a while.")
REFUSED_BY = gauge("folkmoot_refused_by_peers", "Peers that refuse this one.")
TWIN = gauge("folkmoot_twin", "1 if another process uses this peer's key.")
REACHABLE = gauge("folkmoot_reach", "1 for whether others can dial this peer.", verdict=REACH)
CIRCUITS = gauge("folkmoot_relay_circuits", "Circuits that this peer carries as a relay.")
CARRIED = counter("folkmoot_relay_bytes_total", "Bytes carried as a relay.")
MESH = gauge("folkmoot_gossip_mesh_peers", "Peers in the mesh of a topic.", topic=TOPICS)
MESSAGES = counter("folkmoot_gossip_messages_total", "Messages that came, by topic.", topic=TOPICS)
GOSSIP_BYTES = counter("folkmoot_gossip_bytes_total", "Bytes of messages that came, by topic.", topic=TOPICS)
SHED_MESSAGES = counter("folkmoot_gossip_shed_total", "Messages not sent for want of room, by class.", priority=SHED)
GRAYLISTED = counter("folkmoot_gossip_graylisted_messages_total", "Messages ignored because of their sender's score.")
BUDGET_USED = gauge("folkmoot_budget_used", "What strangers use of a resource now.", resource=RESOURCES)
BUDGET_REFUSED = counter("folkmoot_budget_refused_total", "Requests refused for a resource.", resource=RESOURCES)

# -- serving
ASKED = counter("folkmoot_agent_requests_total", "Requests of clients, by how they ended.", outcome=ANSWERS)
AGENT_RUNNING = gauge("folkmoot_agent_running", "Requests of clients that run now.")
AGENT_LIMIT = gauge("folkmoot_agent_limit", "Requests that the agent lets in at once now.")
SERVED = counter("folkmoot_executor_requests_total", "Requests to the executor, by how they ended.", outcome=ANSWERS)
FIRST = histogram("folkmoot_executor_first_token_seconds", "From a request's arrival to its first token.", _SECONDS)
SERVE_S = histogram("folkmoot_executor_request_seconds", "From a request's arrival to the end of its answer.", _SECONDS)
MADE = counter("folkmoot_executor_tokens_total", "Tokens made for requests.")

# -- scheduler and engine
JOBS = gauge("folkmoot_scheduler_running", "Jobs on all ML nodes, checks included.")
WAITING = gauge("folkmoot_scheduler_waiting", "Jobs that wait for a place.")
NODES = gauge("folkmoot_ml_nodes", "ML nodes, by state.", state=("ready", "draining", "down"))
STARTS = counter("folkmoot_ml_node_starts_total", "Starts of ML nodes.")
KV = gauge("folkmoot_engine_kv_used_ratio", "Share of the KV cache in use, of the fullest ML node.")
ENGINE_RUNNING = gauge("folkmoot_engine_running", "Requests in the engines' batches, as they count.")
ENGINE_WAITING = gauge("folkmoot_engine_waiting", "Requests in the engines' own queues.")

# -- checks
DUTIES = gauge("folkmoot_duties", "Inferences that this validator has to check or reveal now.")
CHECKS = counter("folkmoot_checks_total", "Checks done, by verdict.", verdict=VERDICTS)
CHECKS_FAILED = counter("folkmoot_checks_not_done_total", "Checks that could not be done and are tried again.")
CHECK_S = histogram("folkmoot_check_seconds", "A check, from its begin to its commitment.", _SECONDS)
BEHIND = gauge("folkmoot_checks_behind", "1 while checks found no place twice in a row.")

# -- ledger and money
REGISTERED = gauge("folkmoot_registered", "1 if this peer is registered.")
FIRST_BLOCK = gauge("folkmoot_first_block", "The lowest height whose block is here.")
OUTBOX = gauge("folkmoot_outbox_records", "Records of this peer that wait for a batch.")
FLIGHT = gauge("folkmoot_outbox_batches", "Batches of this peer that no block has yet.")
MEMPOOL = gauge("folkmoot_mempool_transactions", "Transactions that wait for a block here.")
DISPUTES = gauge("folkmoot_open_disputes", "Disputes about answers of this peer.")
WEIGHT = gauge("folkmoot_node_weight", "This node's weight in draws, votes and consensus.")
COLLATERAL = gauge("folkmoot_collateral_microcredits", "Collateral of this node.")
BALANCE = gauge("folkmoot_owner_balance_microcredits", "Balance of the account that registered this node.")
PRICE = gauge("folkmoot_price_microcredits", "Price of a token of this peer's model.")

# -- process
CPU = counter("process_cpu_seconds_total", "CPU time of this process.")
MEMORY = gauge("process_resident_memory_bytes", "Memory of this process.")
FILES = gauge("process_open_fds", "Open file descriptors.")
STARTED = gauge("process_start_time_seconds", "When this process started, in seconds since 1970.")
STORE = gauge("folkmoot_store_bytes", "Size of the store's file.")
DISK = gauge("folkmoot_disk_free_bytes", "Room on the disk of the peer's folder.")

GROUPS: tuple[tuple[str, tuple[Named, ...]], ...] = (
    ("the peer", (INFO, FAILURES, PARTS_DOWN, LATE, STRAIN)),
    ("consensus", (
        HEIGHT, BLOCK_TIME, BLOCKS, INTERVAL, ROUNDS, TRANSACTIONS, REFUSED, ROUND, IS_VALIDATOR, OBSERVING, UNSIGNED,
        EVIDENCE, VOTE_STREAMS, QUEUE_DROPS, CLOCK_LAG, CLOCK_WRONG,
    )),
    ("connections", (
        CONNECTIONS, DIALS, DIALS_FAILED, KNOWN, ENDED, BANNED, REFUSED_BY, TWIN, REACHABLE, CIRCUITS, CARRIED,
        BUDGET_USED, BUDGET_REFUSED,
    )),
    ("gossip", (MESH, MESSAGES, GOSSIP_BYTES, SHED_MESSAGES, GRAYLISTED)),
    ("serving", (ASKED, AGENT_RUNNING, AGENT_LIMIT, SERVED, FIRST, SERVE_S, MADE)),
    ("scheduler and engine", (JOBS, WAITING, NODES, STARTS, KV, ENGINE_RUNNING, ENGINE_WAITING)),
    ("checks", (DUTIES, CHECKS, CHECKS_FAILED, CHECK_S, BEHIND)),
    ("ledger and money", (
        REGISTERED, FIRST_BLOCK, OUTBOX, FLIGHT, MEMPOOL, DISPUTES, WEIGHT, COLLATERAL, BALANCE, PRICE,
    )),
    ("process", (CPU, MEMORY, FILES, STARTED, STORE, DISK)),
)
PEER: tuple[Named, ...] = tuple(metric for _, group in GROUPS for metric in group)

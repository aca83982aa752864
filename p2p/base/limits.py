"""Every bound in one place. Law: what others may take of us, and how long they may make us wait, has its number here; relations hold. The pace of a
module's own loop, and the grain of its own bookkeeping, stand beside their use.
"""

from __future__ import annotations

from typing import Final, NamedTuple

KIB: Final = 1024
MIB: Final = 1024 * KIB

# bytes on the wire
MAX_FRAME: Final = 4 * MIB  # one frame on a stream
MAX_GOSSIP: Final = 256 * KIB  # one gossip message; py-libp2p drops RPCs above 1 MiB without an error
MAX_TX: Final = 64 * KIB  # one transaction; travels by gossip
MAX_BLOCK: Final = 1536 * KIB  # one encoded block: 2,600 inferences of three records; its transactions do not travel with the proposal
MAX_PROPOSAL: Final = MAX_BLOCK + 128 * KIB  # with a polka of 128 votes; in the log and between simulated peers
MAX_DEPTH: Final = 16  # nesting of decoded CBOR
MAX_ANSWER_ITEMS: Final = 1 << 17  # of an answer to a question of ours: a full block has 31,000
MAX_GENESIS_ITEMS: Final = 1 << 20  # of a file that the user names
MAX_CHUNK_ITEMS: Final = 1 << 17  # of a snapshot's chunk: a pair has 40 bytes or more
MAX_ITEMS: Final = 4096  # CBOR items of one message, where its kind does not say more: a few ms of work however they are nested

# inference
MAX_PROMPT_BYTES: Final = 64 * KIB
MAX_OUTPUT_TOKENS: Final = 4096
MAX_MODEL_NAME: Final = 96
MAX_NETWORK_NAME: Final = 63  # with '@' and 32 digits of the genesis file's hash it is a network's id, of at most 96 characters
MAX_VOCABULARY: Final = 1 << 18  # token ids are below it: what a row of an artifact can hold
MAX_EOS_IDS: Final = 16  # of one model
MAX_TOP_K: Final = 64
TOP_RANKS: Final = 8  # candidates kept per token in an artifact
LEAF_POSITIONS: Final = 32  # token positions per Merkle leaf
REVEAL_POSITIONS: Final = 16  # positions at which a validator shows its own numbers
REVEAL_RANKS: Final = 4  # candidates it shows there: the next ones after those that an artifact holds
MAX_CANDIDATES: Final = 8  # executors tried for one request
MAX_HANDOVERS: Final = MAX_CANDIDATES - 1  # executors whose tokens one may have taken over
MAX_TOKEN_TEXT: Final = 512  # bytes of one token's text
MAX_TOKENIZER: Final = 64 * MIB  # a tokenizer.json
BEACON_MAX_AGE: Final = 16  # heights by which the draw that a client signed may lag behind the agent's tip: its round trips take blocks
HEIGHTS_APART: Final = 4  # two peers' tips, both in sync
MAX_NONCE_AHEAD: Final = 1024  # of an account, beyond the highest one used: so no number that is signed once ends an account
MAX_JOBS_PER_PEER: Final = 16  # requests running at once on one executor
MAX_SPRINT_ANSWERS: Final = 1 << 16  # of one commitment: its proofs have at most 16 hashes
SPRINT_COMMIT_LEAD: Final = 3  # heights before the race closes at which a peer commits, so that a block still takes it
LOAD_LOOK_S: Final = 0.02  # between two looks at how late timers are
LATE_S: Final = 0.01  # from here on all but consensus gives way: each message of it passes some ten steps of the loop
GIVE_WAY_S: Final = 0.5  # at most, for each MAX_HELD_TOKENS of an answer: a peer that is always late still gives 64 tokens a second
GIVE_WAY_CHECK_S: Final = 2.0  # at most, for each step of a check, of which there are two: a duty lasts a window of heights
MAX_REQUESTS_AT_ONCE: Final = 256  # of all clients, on one agent that keeps up
ENTRANCE_LEAST: Final = 1  # of them on one that does not
ENTRANCE_LOOK_S: Final = 0.25  # between two changes of that number
MAX_HELD_TOKENS: Final = 32  # of one answer, shown in one frame
SHOW_EVERY_S: Final = 0.05  # tokens that come faster share a frame and a signature; nobody reads faster than twenty frames a second
MAX_FETCHES: Final = 64  # payloads that a validator looks for at once: who hides many does not keep it from the others
MAX_UNSTARTED: Final = 4  # answers made for one agent that it never put on chain, or did not confirm
MAX_UNPAID: Final = 2  # answers made for one account that had spent the money elsewhere when its Start came
MAX_ONCE: Final = 4096  # requests of which a peer remembers that it said something about them
MAX_AHEAD: Final = 4  # answers for one account that an executor begins before their Start is on chain
MAX_AHEAD_ACCOUNTS: Final = 4096  # accounts of which it remembers that
MAX_WAITING_STARTS: Final = 64  # requests that wait for their Start at once
WAITING_OF_ACCOUNT: Final = 4  # of them
WAITING_OF_AGENT: Final = 8  # of one without weight
START_WAIT_S: Final = 20.0  # each of them
START_POLL_S: Final = 0.2
MAX_METERED: Final = 1024  # accounts, or agents, whose use is remembered
MAX_AFTER_STOP: Final = 512  # tokens on their way when the agent asked to stop: an engine without latency fills every buffer between
MAX_ENGINE_ROWS: Final = 16  # sequences in one batch of the torch engine
MAX_ENGINE_QUEUE: Final = 64  # jobs waiting for it
PREFILL_TOKENS: Final = 4096  # tokens in one prefill pass of several sequences, padding included

# chain
MAX_VALIDATORS: Final = 128
MAX_TXS_PER_BLOCK: Final = 512
MAX_RECORDS_PER_TX: Final = 256
MAX_BATCHES_IN_FLIGHT: Final = 16  # of one peer on their way into a block
MAX_WAITING: Final = 16 * MAX_RECORDS_PER_TX  # records of a peer on their way to the chain
MAX_WORK_RECORDS: Final = MAX_WAITING - MAX_WAITING // 4  # of them, for answers
MAX_BATCHES_AHEAD: Final = 2 * MAX_BATCHES_IN_FLIGHT  # of a sender's batches beyond the chain: others may be a block behind
MEMPOOL_ENTRY: Final = 512  # what a waiting transaction costs beside its bytes
MEMPOOL_PER_SENDER: Final = MAX_BATCHES_IN_FLIGHT * (MAX_TX + MEMPOOL_ENTRY)
MEMPOOL_WEIGHTY: Final = 32 * MIB  # batches of participants with weight
MEMPOOL_WEIGHTLESS: Final = 9 * MIB  # of participants without
MEMPOOL_ORDERS: Final = 1024
MAX_ORDERS_PER_ACCOUNT: Final = 8  # waiting
MAX_ORDERS_PER_BLOCK: Final = 64
MAX_FUTURE_ROUNDS: Final = 2  # buffered rounds ahead, per validator
MAX_TURNS: Final = 1024  # rounds of one height that have proposers of their own; then the turns begin again
MAX_ANCHORED: Final = 1 << 16  # heights below a checkpoint whose block ids are proved at once
MAX_SEEN: Final = 8192  # different messages of one height whose last passing on is remembered
DEADLINE_MAX_AHEAD: Final = 10_000  # heights
TX_TTL_HEIGHTS: Final = 100  # a transaction waits so long for a block
GAP_TTL_HEIGHTS: Final = 5  # and so long for the one before it
REPEAT_HEIGHTS: Final = 10  # what was handed on is not handed on again for so long
MAX_FATES: Final = 4096  # orders of which one remembers what became of them
OUTBOX_TTL_HEIGHTS: Final = 3 * TX_TTL_HEIGHTS  # then what no block took is given up: everybody else has forgotten it long before

# network
MAX_CONNECTIONS: Final = 128
MAX_INBOUND_STREAMS_PER_PEER: Final = 64
OUTBOUND_QUEUE: Final = 1024
MAX_UNREAD: Final = 8 * MIB  # bytes of one connection that no stream has read: more than honest flow control ever has waiting
MAX_STREAM_WINDOW: Final = MIB  # a stream's receive window grows no further
MAX_RPC_ITEMS: Final = 4096  # fields of one gossip RPC, those of its messages and control parts included
MAX_CONTROL_TOPICS: Final = 32  # GRAFT, PRUNE, IHAVE or subscriptions of one RPC
MAX_MESSAGE_IDS: Final = 2048  # wanted or offered in one RPC
MAX_PUBSUB_STREAMS_PER_PEER: Final = 2
IWANT_REPEATS: Final = 2  # a message goes to one peer so often for its asking
MAX_RECORDS_KEPT: Final = 1024  # signed records of peers, known to be good
MAX_PRUNE_BACKOFF_S: Final = 60
MAX_DHT_MESSAGE: Final = 64 * KIB
MAX_DHT_PEERS: Final = 21  # named in one answer: a bucket's twenty, and who was asked for
MAX_PEER_RECORD: Final = KIB  # of what a peer signs about itself: its key, its addresses; a longer one is passed over
IGNORED_COSTS: Final = 4  # times its CPU that a gossip message counts which is ignored: it gave nobody anything
MAX_OWED_MS: Final = 4000  # of CPU beyond its share, after which a stranger's connection ends
MAX_HEARSAY_PER_SOURCE: Final = 128  # peers in the book that are known from one other peer only
MAX_BOOK_FILE: Final = 256 * KIB
SUBSCRIPTION_QUEUE: Final = 2048
GOSSIP_RATE_PER_ORIGIN: Final = 100  # messages a second; more are ignored
MAX_IGNORED: Final = 256  # of a forwarder's messages that were ignored and are not judged again at once
MAX_IGNORING: Final = 2 * MAX_CONNECTIONS  # forwarders of whom that is remembered
MAX_HELLO: Final = 64 * KIB  # a greeting and its answer
MAX_ADDRESSES_PER_PEER: Final = 8
MAX_PEERS_SHARED: Final = 32  # peers named in one greeting
MAX_KNOWN_PEERS: Final = 1024
DIALS_AT_ONCE: Final = 4
MAX_CHOSEN: Final = MAX_CONNECTIONS // 4  # connections that we made ourselves and do not give up for a newcomer's
MAX_FAREWELLS: Final = 16  # connections that are told at once that their place goes to another
MAX_SCORED_PEERS: Final = 4096
MAX_TROUBLES: Final = 64  # peers of whom it is kept why they are not connected
BAN_POINTS: Final = 100

# the machine
MAX_CONTROL_LINE: Final = 64 * KIB  # one question on the control socket
MAX_CONTROL_ANSWER: Final = 16 * MIB
MAX_CONTROL_DEPTH: Final = 8  # levels of its JSON
MAX_CONTROL_CALLERS: Final = 16
MAX_LOG_BYTES: Final = 8 * MIB  # of one log file; then a new one begins
MAX_LOG_FILES: Final = 5  # of one log, the current one included
MAX_LOG_TRACE: Final = 4 * KIB  # characters of a traceback
MAX_LOG_TEXT: Final = 500  # characters of one value
MAX_LOG_REPEATS: Final = 20  # lines with the same words in a minute; the next one tells how many were left out
MAX_LOG_WORDS: Final = 512  # different words that are counted

# waits, seconds
STORE_LOOK_S: Final = 0.5  # between two looks at whether the store has failed
TASK_PAUSE_FIRST_S: Final = 1.0  # before a part that failed begins anew; then twice as long each time
TASK_PAUSE_MAX_S: Final = 60.0
TASK_CALM_S: Final = 120.0  # a part that ran so long is as good as new
DIAL_TIMEOUT_S: Final = 8.0
STREAM_OPEN_TIMEOUT_S: Final = 8.0
FRAME_TIMEOUT_S: Final = 15.0
LIBRARY_STREAM_S: Final = 60.0  # a stream of identify, ping or the DHT
HALF_OPEN_S: Final = 5.0  # to prove a key and agree on a multiplexer
GREETING_GRACE_S: Final = 15.0  # a connection that has not greeted by then, and has no stream open, is ended
FIRST_TOKEN_TIMEOUT_S: Final = 60.0
TOKEN_TIMEOUT_S: Final = 20.0
PING_INTERVAL_S: Final = 5.0
PING_TIMEOUT_S: Final = 4.0
PING_MISSES: Final = 2
BAN_S: Final = 60.0
IGNORED_S: Final = 2.0  # what was ignored is not judged again for so long when the same peer brings it; its third IHAVE of it is later
MAX_REFUSED_S: Final = 3600  # a peer that says Goodbye is left alone as long as it says, and no longer than this
BOOK_SAVE_S: Final = 5.0
FULL_S: Final = 15.0  # who is told that there is no room tries again after so long
REDIAL_FIRST_S: Final = 1.0
REDIAL_MAX_S: Final = 15.0
LOST_PEER_S: Final = 300.0  # a lost peer is sought this long
HELLO_TIMEOUT_S: Final = 6.0
RESOLVE_TIMEOUT_S: Final = 5.0
DISCONNECT_TIMEOUT_S: Final = 2.0
DHT_REFRESH_TIMEOUT_S: Final = 10.0
DHT_INTERVAL_S: Final = 30.0
EXCHANGE_INTERVAL_S: Final = 15.0
ENGINE_START_TIMEOUT_S: Final = 420.0
ENGINE_PAUSE_FIRST_S: Final = 2.0  # before an engine that ended is started again; then twice as long each time
ENGINE_PAUSE_MAX_S: Final = 120.0
ENGINE_SAY_S: Final = 15.0  # between two lines that say the same of an engine
ENGINE_WATCH_S: Final = 2.0  # between two looks at whether it answers
ENGINE_RETEST_S: Final = 30.0  # before an ML node that failed its test is tested again
ENGINE_STOP_TIMEOUT_S: Final = 10.0
SCORE_TIMEOUT_S: Final = 120.0
CONTROL_ANSWER_S: Final = 20.0  # a question on the control socket has its answer by then
CONTROL_LINE_S: Final = 5.0  # and has come as a whole by then
MAX_ANSWERS_PER_VISIT: Final = 1024  # of history, asked of one peer or given to one, before another has its turn
VISIT_START_S: Final = 5.0  # what may be waited for history at a visit before any of it came, while others could be asked
VISIT_ANSWER_S: Final = 0.5  # more for each answer that proved right
AVOID_S: Final = 60.0  # who gave false history is not asked for so long, nor who was slow once
SLOW_MAX_S: Final = 3600.0  # who is slow again and again
BODY_TIMEOUT_S: Final = 10.0  # a proposer has this long to give the transactions of its block
STALE_TIP_S: Final = 60.0  # a newest block older than this: its peer may be behind
TRANSACTION_WAIT_S: Final = 90.0  # who gave an order waits so long for the chain, unless told otherwise
SLICE_S: Final = 0.003  # of a block's work at a stretch; then everybody else has a turn


class Budget(NamedTuple):
    """What may be taken of one thing: by one peer, by one address group (/24 of IPv4, /56 of IPv6), by all together. shed: what goes first when
    it is used up. floor: what each peer has for itself, outside group and total. Peers at 127.0.0.1 and ::1 are of no group: they are this
    machine."""

    peer: int
    group: int
    total: int
    shed: str
    floor: int = 0


_FOR_US = "; the last quarter of the total is for what we asked for ourselves"
PEER_FLOOR: Final = 256 * KIB  # bytes that each connection may have waiting, whatever others do; with all connections 32 MiB
MAX_WANTED_PEERS: Final = 16  # that get every message, besides the mesh
UNREAD_S: Final = 20.0  # a message that waits longer for its peer to take it ends the connection
BUDGETS: Final = {
    "unparsed bytes": Budget(
        MAX_UNREAD, 12 * MIB, 64 * MIB, "the newest frame that a stranger began; a frame that we asked for waits" + _FOR_US, PEER_FLOOR,
    ),
    "outgoing bytes": Budget(4 * MIB, 12 * MIB, 64 * MIB, "the newest gossip for a peer that does not read; soon its connection", PEER_FLOOR),
    "half open": Budget(16, 32, 64, "the oldest socket without a key of the group that has most"),
    "connections": Budget(1, MAX_CONNECTIONS // 2, MAX_CONNECTIONS, "who does not greet; then the youngest of the largest group" + _FOR_US),
    "handshakes": Budget(10, 15, 30, "none: a socket waits its turn, of so many a second, as long as it may be half open"),
    "streams": Budget(MAX_INBOUND_STREAMS_PER_PEER, 256, 1024, "the newest"),
    "requests": Budget(200, 400, 2000, "the newest stream, of so many a second"),
    "work ms": Budget(200, 300, 600, "gossip and streams of who is over: CPU spent on it in a second"),
    "wanted bytes": Budget(2 * MIB, 4 * MIB, 8 * MIB, "the rest of an IWANT: bytes sent for it in a second"),
}

assert MAX_TX < MAX_GOSSIP < MIB <= MAX_FRAME
assert MAX_TX <= MAX_BLOCK < MAX_PROPOSAL <= MAX_FRAME // 2
assert MAX_BATCHES_IN_FLIGHT < MAX_BATCHES_AHEAD
assert MEMPOOL_PER_SENDER * 8 <= MEMPOOL_WEIGHTLESS <= MEMPOOL_WEIGHTY
assert MAX_ORDERS_PER_ACCOUNT <= MAX_ORDERS_PER_BLOCK <= MAX_TXS_PER_BLOCK // 4
assert GAP_TTL_HEIGHTS < REPEAT_HEIGHTS < TX_TTL_HEIGHTS < OUTBOX_TTL_HEIGHTS
assert MAX_RECORDS_PER_TX * 64 < MAX_TX * 4
assert PING_TIMEOUT_S < PING_INTERVAL_S
assert START_POLL_S < START_WAIT_S < FIRST_TOKEN_TIMEOUT_S
assert all(0 < b.peer <= b.group <= b.total for b in BUDGETS.values())
assert BUDGETS["unparsed bytes"].peer >= MAX_FRAME + KIB  # any one frame fits
assert all(4 * b.group <= b.total - b.total // 4 for b in BUDGETS.values() if b.floor)
assert BUDGETS["outgoing bytes"].peer >= 4 * MAX_GOSSIP
assert MAX_CONTROL_TOPICS + MAX_MESSAGE_IDS < MAX_RPC_ITEMS
assert VISIT_ANSWER_S < VISIT_START_S < FRAME_TIMEOUT_S

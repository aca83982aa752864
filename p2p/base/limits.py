"""Every bound in one table: how much others may take from this peer, and how long they may make it wait.

Law: each limit is here with its unit and its reason, and the relations between them are asserted at the end. A name
that ends in _S is in seconds, _MS in milliseconds, _HEIGHTS in heights; sizes are bytes unless the comment says
otherwise. How often a module's own loop looks, and how coarse its own counting is, is a constant in that module.
"""

from __future__ import annotations

from typing import Final, NamedTuple

KIB: Final = 1024
MIB: Final = 1024 * KIB

# -- bytes on the wire
MAX_FRAME: Final = 6 * MIB  # one frame on a stream: the payload of an answer of 128k tokens
MAX_GOSSIP: Final = 256 * KIB  # data of one gossip message
MAX_TX: Final = 64 * KIB  # one transaction, so that it fits a gossip message
MAX_BLOCK: Final = 1536 * KIB  # one encoded block: 2,600 inferences of three records; proposals travel without its body
MAX_PROPOSAL: Final = MAX_BLOCK + 128 * KIB  # a block with 128 votes for it; in the log and between simulated peers
MAX_NAME: Final = 96  # characters of a short text on the wire: a model's id, a network's id, an error's code
MAX_REASON: Final = 300  # characters of a sentence on the wire
MAX_RECORD_BODY: Final = 4096  # one record of a batch
MAX_DEPTH: Final = 16  # levels of decoded CBOR; no message of ours has more
MAX_ITEMS: Final = 4096  # CBOR items of a message, unless its kind allows more: a few ms of work in any nesting
MAX_ANSWER_ITEMS: Final = 1 << 17  # CBOR items of an answer to our own question: a full block has 31,000
MAX_CHUNK_ITEMS: Final = 1 << 17  # CBOR items of a snapshot's chunk: a pair has 40 bytes or more
MAX_GENESIS_ITEMS: Final = 1 << 20  # CBOR items of a genesis file, which the user chooses

# -- work that gives way to consensus while the process is late (machine/load.py)
LOAD_LOOK_S: Final = 0.02  # in which a delay counts half, and between two looks of what gives way
LATE_S: Final = 0.01  # a process is late from here on: each consensus message passes some ten steps of the event loop
GIVE_WAY_S: Final = 0.5  # most for each MAX_HELD_TOKENS: a peer that is always late still serves 64 tokens a second
GIVE_WAY_CHECK_S: Final = 2.0  # most for each of a check's two steps: a duty has a whole window of heights
SLICE_S: Final = 0.003  # of a block's work at a stretch; then all other tasks have a turn
MAX_STRETCH: Final = 8  # times its length that a deadline may take where this process is late (machine/deadlines.py)
STRAIN_S: Final = 5.0  # over which the share of lost time is smoothed

# -- chain
MAX_VALIDATORS: Final = 128
MAX_TXS_PER_BLOCK: Final = 512
MAX_RECORDS_PER_TX: Final = 256
MAX_ACCOUNT_TXS_PER_BLOCK: Final = 64
MAX_BATCHES_IN_FLIGHT: Final = 16  # batches of one peer on their way into a block
MAX_BATCHES_AHEAD: Final = 2 * MAX_BATCHES_IN_FLIGHT  # of a sender beyond the chain: others may be a block behind
MAX_WAITING: Final = 16 * MAX_RECORDS_PER_TX  # records in one peer's outbox
MAX_WORK_RECORDS: Final = MAX_WAITING - MAX_WAITING // 4  # of these, for requests; the rest: verdicts etc.
MEMPOOL_ENTRY: Final = 512  # what a waiting transaction costs in addition to its own bytes
MEMPOOL_PER_SENDER: Final = MAX_BATCHES_IN_FLIGHT * (MAX_TX + MEMPOOL_ENTRY)
MEMPOOL_WEIGHTY: Final = 32 * MIB  # batches of participants with weight
MEMPOOL_WEIGHTLESS: Final = 9 * MIB  # batches of participants without weight
MEMPOOL_ACCOUNT_TXS: Final = 1024  # account transactions
MAX_TXS_PER_ACCOUNT: Final = 8  # account transactions of one account that wait
MAX_FUTURE_ROUNDS: Final = 2  # rounds ahead whose messages are buffered, per validator
MAX_TURNS: Final = 1024  # rounds of a height with proposers of their own; then the turns begin again
MAX_ANCHORED: Final = 1 << 16  # heights below a checkpoint whose block ids are proved at once
MAX_BUNDLE: Final = 64 * KIB  # one frame: 280 votes, or a certificate of 128 and 100 votes, or a proposal
MAX_BUNDLE_MESSAGES: Final = 2 * MAX_VALIDATORS  # messages in it: a round's votes
MAX_POOL_ROUNDS: Final = 64  # rounds of one height whose votes are handed on
MAX_KEPT_PROPOSALS: Final = 8  # of this height and the last that are handed on by streams
MAX_POOL_OTHERS: Final = 64  # certificates and pieces of evidence of one height that are handed on
MAX_FOLLOWERS: Final = 32  # peers that do not vote and get the votes for each block from one peer: a frame a block each
UPSTREAMS: Final = 3  # peers that one that does not vote gets them from
VOTE_LOOK_S: Final = 1.0  # between two looks at which streams of votes are missing
MAX_SEEN: Final = 8192  # messages of one height for which the time of the last forwarding is remembered
MAX_FATES: Final = 4096  # account transactions whose outcome is remembered
DEADLINE_MAX_AHEAD: Final = 10_000  # heights between a request and its deadline
TX_TTL_HEIGHTS: Final = 100  # for which a transaction waits for a block
GAP_TTL_HEIGHTS: Final = 5  # for which it waits when the one with the nonce before is missing
REPEAT_HEIGHTS: Final = 10  # for which a forwarded transaction is not forwarded again
OUTBOX_TTL_HEIGHTS: Final = 3 * TX_TTL_HEIGHTS  # after which a record is given up: all others forgot it long before

# -- network: streams and frames
MAX_CONNECTIONS: Final = 128
MAX_INBOUND_STREAMS_PER_PEER: Final = 64
MAX_UNREAD: Final = 8 * MIB  # of one connection that no stream has read: above what honest flow control has waiting
MAX_STREAM_WINDOW: Final = MIB  # a stream's receive window grows no further
FRAME_TIMEOUT_S: Final = 15.0  # for a frame to be read or written
LIBRARY_STREAM_S: Final = 60.0  # for a stream of identify, ping or the DHT

# -- network: gossip
MAX_RPC: Final = MIB  # one gossip RPC that is read; other libraries send so much at once
MAX_RPC_WRITE: Final = 64 * KIB  # of content in one RPC that is written, unless one message is larger
MAX_RPC_ITEMS: Final = 4096  # parts of one gossip RPC: messages, control messages and what they list
MAX_DELIVERY_RECORDS: Final = 1 << 14  # messages whose senders are remembered: 8,000 a second for 2 s, about 5 MB
MAX_RETAINED_SCORES: Final = 1024  # disconnected peers whose negative score is remembered, about 2 KiB each
MAX_CONTROL_TOPICS: Final = 32  # GRAFT, PRUNE, IHAVE or subscriptions in one RPC
MAX_MESSAGE_IDS: Final = 2048  # message ids wanted or offered in one RPC
MAX_MESSAGE_ID: Final = 128  # bytes of a message id; ours have 20, those of other libraries may name an author
MAX_PRUNE_PEERS: Final = 16  # peers named in one PRUNE
MAX_PUBSUB_STREAMS_PER_PEER: Final = 2
MAX_PRUNE_BACKOFF_S: Final = 60
# New messages from one forwarder a second, per topic; more are ignored. It may be the first to bring what everybody
# says: two votes of MAX_VALIDATORS a second, and their repeats.
GOSSIP_RATE_PER_FORWARDER: Final = 1000
MAX_WANTED_PEERS: Final = 16  # connected peers that a router is told it wants: it prefers them in its meshes
UNREAD_S: Final = 20.0  # a message that waits longer, in own time, for its peer to read it ends the connection
IGNORED_S: Final = 2.0  # for which an ignored message is not judged again; a peer's third IHAVE of it comes later
MAX_IGNORED: Final = 256  # ignored messages remembered for one forwarder

# -- network: the gossip router (p2p/gossipsub)
MAX_TOPICS_PER_PEER: Final = 64  # topics that one neighbour may subscribe to
MAX_TOPIC_NAME: Final = 256  # bytes of a topic: ours have at most 141
MAX_SEEN_IDS: Final = 1 << 16  # ids of judged messages: 120 s of 500 a second; 12 MiB
MAX_JUDGING: Final = 1024  # messages delivered and not judged yet
MAX_CACHE_BYTES: Final = 32 * MIB  # messages kept for those that ask
MAX_PROMISES: Final = 4096  # offered messages that are waited for
MAX_ASKED: Final = 512  # messages asked for and not come, that are asked for again: 22 KiB of ids in a heartbeat
MAX_OFFERERS: Final = 8  # neighbours that are remembered to have offered one of them
MAX_BACKOFFS: Final = 8192  # pairs of topic and peer
MAX_OFFERS: Final = 64  # peers to dial, as others named them
MAX_PEER_ID: Final = 64  # bytes of a peer's id
MAX_FANOUT_TOPICS: Final = 32  # topics that we publish to and have not joined
QUEUE_BYTES: Final = 4 * MIB  # of messages that wait for one neighbour
QUEUE_MESSAGES: Final = 4096
QUEUED_TOTAL: Final = 64 * MIB  # of messages that wait for all neighbours; looked at once in a heartbeat
MAX_RPC_MESSAGES: Final = 256  # messages in one RPC that we send: with everything else below MAX_RPC_ITEMS
MAX_RPC_PRUNES: Final = 16  # PRUNEs in one RPC that we send: each may name other peers
MAX_WANTED_NAMES: Final = 1024  # peers that are remembered as wanted, connected or not

# -- network: discovery
MAX_HELLO: Final = 64 * KIB  # a greeting or its answer
MAX_ADDRESSES_PER_PEER: Final = 8
MAX_PEERS_SHARED: Final = 32  # peers named in one greeting
MAX_KNOWN_PEERS: Final = 1024  # peers in the address book
MAX_HEARSAY_PER_SOURCE: Final = 128  # peers in the book that one other peer alone has named
MAX_KNOWN_PER_GROUP: Final = 128  # of these in one wide address group (/16, /32), apart from those that we reached
MAX_BOOK_FILE: Final = 256 * KIB
FORGET_HEARSAY: Final = 3  # failed dials, while others are connected, after which hearsay is forgotten
STALE_FAILURES: Final = 3  # after which what others say of where a peer is counts too
FORGET_FAILURES: Final = 8  # and after which any other peer is, if it was not seen for the time below
FORGET_TOLD_S: Final = 86_400.0  # a peer that only told us where it listens
FORGET_REACHED_S: Final = 14 * 86_400.0  # a peer that we had reached; as long as a light client trusts a header
MAX_DHT_MESSAGE: Final = 64 * KIB
MAX_DHT_PEERS: Final = 21  # peers in one DHT answer: a bucket's twenty, and the one that was asked for
MAX_PEER_RECORD: Final = KIB  # a peer's signed record of its key and addresses; a longer one is ignored
DIALS_AT_ONCE: Final = 4
DIALS_A_SECOND: Final = 2.0  # begun in the background; a secured connection costs both sides 20 to 50 ms of CPU each
DIALS_BURST: Final = 4
START_SPREAD_S: Final = 1.0  # within which peers that start together make their first dial
BOOK_FIRST_S: Final = 10.0  # for which peers of the book are tried alone, before the bootstrap is asked
OUTBOUND_SLOTS: Final = 8  # connections that a peer chooses and dials itself
MAX_ANCHORS: Final = 2  # of these that are saved and dialled first after a restart, as Bitcoin Core does
ANCHOR_AGE_S: Final = 60.0  # for which an anchor has been connected at least
MAX_PARTNERS: Final = 64  # validators up to which each wants a connection to every other
PARTNER_TURN_S: Final = 15.0  # after which the second of two validators dials too
WIDE_PLACES: Final = MAX_CONNECTIONS // 4  # connections of strangers from one wide address group (/16, /32)
MAX_CHOSEN: Final = MAX_CONNECTIONS // 4  # connections that we made on purpose and keep when a newcomer needs a place
MAX_FAREWELLS: Final = 16  # connections that are being told why they end
DIAL_TIMEOUT_S: Final = 8.0
STREAM_OPEN_TIMEOUT_S: Final = 8.0
HALF_OPEN_S: Final = 5.0  # for a socket to prove its key and to agree on a multiplexer
HELLO_TIMEOUT_S: Final = 6.0
GREETING_GRACE_S: Final = 15.0  # after which a connection ends that has not greeted and has no stream open
RESOLVE_TIMEOUT_S: Final = 5.0
DISCONNECT_TIMEOUT_S: Final = 2.0
PING_INTERVAL_S: Final = 5.0  # of silence, after which a connection is pinged
SILENT_S: Final = 15.0  # of silence, in own time, after which it ends
REDIAL_FIRST_S: Final = 1.0  # pause after a failed dial; then twice as long each time
REDIAL_MAX_S: Final = 15.0  # while nobody is connected, and for peers that were lost lately
REDIAL_PARTNER_S: Final = 60.0  # for validators that this one wants a connection to
REDIAL_FAR_S: Final = 600.0  # for all others
LOST_PEER_S: Final = 300.0  # for which a lost peer is dialled again
FULL_S: Final = 15.0  # after which a peer that found no place may try again
BOOK_SAVE_S: Final = 5.0  # between two writes of the address book
DHT_FIRST_S: Final = 5.0  # before the first search in the DHT: greetings come first
DHT_INTERVAL_S: Final = 30.0  # between two searches while something is missing; without that there are none
DHT_MAX_S: Final = 600.0
DHT_FINDS: Final = 4  # validators that one search looks for
DHT_TIMEOUT_S: Final = 10.0
EXCHANGE_FIRST_S: Final = 1.0  # between two greetings that ask a peer whom it knows; twice as long each time
EXCHANGE_MAX_S: Final = 60.0

# -- network: peers that can only dial out
DIAL_BACK_FIRST_S: Final = 2.0  # before the first question whether we can be dialled; then twice as long each time
DIAL_BACK_EVERY_S: Final = 600.0  # between two questions once the answers agree
DIAL_BACK_VALID_S: Final = 3600.0  # for which an answer counts: the network may be another one since
DIAL_BACK_S: Final = 5.0  # for a peer to dial us back
DIAL_BACKS_AT_ONCE: Final = 4  # that we make for others
WITNESSES: Final = 3  # answers that decide, from different address groups
MAX_CIRCUIT_MESSAGE: Final = 4 * KIB  # one message of the circuit relay protocol, as its specification says
RESERVATION_S: Final = 3600.0  # for which a relay keeps a place for a peer
RESERVATION_LEAST_S: Final = 60.0  # a reservation is taken to last at least so long, whatever the relay's clock says
RELAYS: Final = 2  # relays at which a peer that can only dial out has a place
TELL_AGAIN_S: Final = 5.0  # before a peer is greeted again that did not hear at which relays we are
TELLS: Final = 3  # times that it is told
RELAY_PAUSE_S: Final = 5.0  # before a relay that refused is asked again; then twice as long each time
RELAY_PAUSE_MAX_S: Final = 600.0
CIRCUIT_S: Final = 3600.0  # one connection through a relay
CIRCUIT_BYTES: Final = 256 * MIB  # of one connection through a relay, both directions together
CIRCUIT_SETUP_S: Final = 8.0  # for the other side to accept one
CIRCUITS_TO_PEER: Final = 16  # through one relay to one peer: as many as gossip's score allows from one group (P6)
CIRCUITS_TO_PEER_FROM_GROUP: Final = 4  # of these from one address group, so one stranger cannot take them all
MAX_CIRCUIT_TRIES: Final = 2  # relays tried in one dial

# -- network: penalties
BAN_POINTS: Final = 100  # penalty points that ban a peer
BAN_S: Final = 60.0
MAX_REFUSED_S: Final = 3600  # a peer that says Goodbye is not dialled as long as it asks, and at most so long
# A copy of a message that comes so long after the first helps nobody. Before, each neighbour in the mesh brings one.
LATE_COPY_S: Final = 5.0
IGNORED_COSTS: Final = 4  # times its CPU that an ignored gossip message counts for: it was of no use to anybody
MAX_OWED_MS: Final = 4000  # CPU used beyond its share, after which a stranger's connection ends
MAX_SCORED_PEERS: Final = 4096  # peers whose penalties, or rates, are remembered
MAX_TROUBLES: Final = 64  # peers for which the reason of a missing connection is kept

# -- one process: control socket, log, tasks
MAX_CONTROL_LINE: Final = 64 * KIB  # one question on the control socket
MAX_CONTROL_ANSWER: Final = 16 * MIB
MAX_CONTROL_DEPTH: Final = 8  # levels of its JSON
MAX_CONTROL_CALLERS: Final = 16  # callers at once
CONTROL_LINE_S: Final = 5.0  # for a question to arrive as a whole
CONTROL_ANSWER_S: Final = 20.0  # for its answer
MAX_LOG_BYTES: Final = 8 * MIB  # of one log file; then a new one begins
MAX_LOG_FILES: Final = 5  # files of one log, the current one included
MAX_LOG_TRACE: Final = 4 * KIB  # characters of a traceback
MAX_LOG_TEXT: Final = 500  # characters of one value
MAX_LOG_REPEATS: Final = 20  # lines with the same words in a minute; further ones are only counted
MAX_LOG_WORDS: Final = 512  # different words that are counted
MIN_FREE_MEMORY: Final = 256 * MIB  # that `folkmoot doctor` asks for; a peer without a model takes about as much
MIN_OPEN_FILES: Final = 1024  # the same: connections, streams of the control socket, the store, an engine's own
MIN_FREE_DISK: Final = 1024 * MIB  # that `folkmoot doctor` asks for
STORE_LOOK_S: Final = 0.5  # between two looks at whether the store has failed
TASK_PAUSE_FIRST_S: Final = 1.0  # before a task that failed starts again; then twice as long each time
TASK_PAUSE_MAX_S: Final = 60.0
TASK_CALM_S: Final = 120.0  # a task that ran so long begins with the first pause again

# -- waits for an engine
FIRST_TOKEN_TIMEOUT_S: Final = 60.0
TOKEN_TIMEOUT_S: Final = 20.0  # between two tokens
# Added by a client to the silence that its agent may keep.
AGENT_SILENT_S: Final = 1.0
WORKING_EVERY_S: Final = 0.3  # of no token, after which an executor says that it works
MAX_KEPT_STEPS: Final = 256  # inferences for which a process keeps when they passed which step
# For an executor's first frame, and between two where it announces nothing else: a dead one is left so soon.
EXECUTOR_SILENT_S: Final = 1.2
SCORE_TIMEOUT_S: Final = 120.0  # for the score of one answer
ENGINE_START_TIMEOUT_S: Final = 420.0
ENGINE_PAUSE_FIRST_S: Final = 2.0  # before an engine that ended is started again; then twice as long each time
ENGINE_PAUSE_MAX_S: Final = 120.0
ENGINE_SAY_S: Final = 15.0  # between two log lines that say the same about an engine
ENGINE_WATCH_S: Final = 2.0  # between two looks at whether it answers
ENGINE_RETEST_S: Final = 30.0  # before an ML node that failed its test is tested again
ENGINE_STOP_TIMEOUT_S: Final = 10.0

# -- waits for blocks and history
MAX_ANSWERS_PER_VISIT: Final = 1024  # of history, from one peer or to one, before it is another's turn
VISIT_START_S: Final = 5.0  # for the first of a visit's answers, while other peers could be asked
VISIT_ANSWER_S: Final = 0.5  # added for each answer that proved right
AVOID_S: Final = 60.0  # for which a peer that gave false history is not asked, or one that was slow once
SLOW_MAX_S: Final = 3600.0  # for which one that is slow again and again is not asked
BODY_TIMEOUT_S: Final = 10.0  # for a proposer to give the transactions of its block
MAX_CLOCK_APART_MS: Final = 1000  # between a peer and others, before `folkmoot doctor` complains
STALE_TIP_S: Final = 60.0  # a peer whose newest block is older may be behind
TRANSACTION_WAIT_S: Final = 90.0  # for an account transaction to be decided, unless the user says otherwise


class Budget(NamedTuple):
    """How much of one resource others may take. Peers at 127.0.0.1 and ::1 belong to no address group: they are on this
    machine."""

    peer: int  # for one peer
    group: int  # for one address group: a /24 of IPv4, a /56 of IPv6
    total: int  # for all together
    shed: str  # what is refused or ended first when it is used up
    floor: int = 0  # what each peer has for itself, not counted in group and total


PEER_FLOOR: Final = 256 * KIB  # bytes that each connection may always have waiting; all connections together: 32 MiB
_FOR_US = "; the last quarter of the total is for what we asked for ourselves"
_UNPARSED = "the newest frame that a stranger began; a frame that we asked for waits" + _FOR_US
_OUTGOING = "the newest gossip for a peer that does not read; then its connection"
_CONNECTIONS = "peers that do not greet; then the youngest of the largest group" + _FOR_US
_HANDSHAKES = "none: a socket waits for its turn, as long as it may be half open"

# Amounts by resource. "handshakes", "requests", "work ms" (CPU), "wanted bytes", "relayed bytes" and "dial backs" are
# per second. Of circuits the budgets are those of the peer that dials.
BUDGETS: Final = {
    "unparsed bytes": Budget(MAX_UNREAD, 12 * MIB, 64 * MIB, _UNPARSED, PEER_FLOOR),
    "outgoing bytes": Budget(4 * MIB, 12 * MIB, 64 * MIB, _OUTGOING, PEER_FLOOR),
    "half open": Budget(16, 32, 64, "the oldest socket without a key of the group that has most"),
    "connections": Budget(1, MAX_CONNECTIONS // 2, MAX_CONNECTIONS, _CONNECTIONS),
    "handshakes": Budget(10, 15, 30, _HANDSHAKES),
    "streams": Budget(MAX_INBOUND_STREAMS_PER_PEER, 256, 1024, "the newest"),
    "requests": Budget(200, 400, 2000, "the newest stream"),
    "work ms": Budget(200, 300, 600, "gossip and streams of peers that are above it"),
    "wanted bytes": Budget(2 * MIB, 4 * MIB, 8 * MIB, "the rest of an IWANT"),
    "reservations": Budget(1, 8, 32, "the newest; the last quarter of the total is for validators"),
    "circuits": Budget(8, 16, 64, "the newest; the last quarter of the total is for validators"),
    "relayed bytes": Budget(MIB, 2 * MIB, 8 * MIB, "none: what is above it waits"),
    "dial backs": Budget(1, 1, 2, "the newest question"),
}

# What must hold between them.
assert MAX_TX < MAX_GOSSIP < MAX_RPC <= MAX_FRAME
assert MAX_RPC_WRITE + MAX_GOSSIP < MAX_RPC
assert 6 * MAX_VALIDATORS < GOSSIP_RATE_PER_FORWARDER
assert MAX_TX <= MAX_BLOCK < MAX_PROPOSAL <= MAX_FRAME // 2
assert MAX_RECORD_BODY < MAX_TX
assert MAX_BATCHES_IN_FLIGHT < MAX_BATCHES_AHEAD
assert MEMPOOL_PER_SENDER * 8 <= MEMPOOL_WEIGHTLESS <= MEMPOOL_WEIGHTY
assert MAX_TXS_PER_ACCOUNT <= MAX_ACCOUNT_TXS_PER_BLOCK <= MAX_TXS_PER_BLOCK // 4
assert GAP_TTL_HEIGHTS < REPEAT_HEIGHTS < TX_TTL_HEIGHTS < OUTBOX_TTL_HEIGHTS
assert MAX_RECORDS_PER_TX * 64 < MAX_TX * 4
assert 2 * PING_INTERVAL_S < SILENT_S
assert REDIAL_FIRST_S < REDIAL_MAX_S < REDIAL_FAR_S < FORGET_TOLD_S < FORGET_REACHED_S
assert OUTBOUND_SLOTS < MAX_CHOSEN < WIDE_PLACES + 1
assert MAX_PARTNERS + MAX_CHOSEN <= MAX_CONNECTIONS
assert all(0 < b.peer <= b.group <= b.total for b in BUDGETS.values())
assert BUDGETS["unparsed bytes"].peer >= MAX_FRAME + KIB  # any one frame fits
assert all(4 * b.group <= b.total - b.total // 4 for b in BUDGETS.values() if b.floor)
assert BUDGETS["outgoing bytes"].peer >= 4 * MAX_GOSSIP
assert MAX_CONTROL_TOPICS + MAX_MESSAGE_IDS < MAX_RPC_ITEMS
assert 3 * MAX_RPC_MESSAGES + MAX_MESSAGE_IDS + 7 * MAX_CONTROL_TOPICS + 52 * MAX_RPC_PRUNES + 8 < MAX_RPC_ITEMS
assert MAX_GOSSIP < QUEUE_BYTES == BUDGETS["outgoing bytes"].peer
assert VISIT_ANSWER_S < VISIT_START_S < FRAME_TIMEOUT_S
assert CIRCUITS_TO_PEER_FROM_GROUP < CIRCUITS_TO_PEER < BUDGETS["connections"].group
assert RESERVATION_LEAST_S < RESERVATION_S
assert 3 * WORKING_EVERY_S < EXECUTOR_SILENT_S < TOKEN_TIMEOUT_S

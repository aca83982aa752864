"""Bounds of serving in one table: requests and answers, engines, clients, the gateway.

Law: as base/limits.py, whose second part this is: unit and reason at each, relations asserted at the end.
"""

from __future__ import annotations

from typing import Final

from p2p.base.limits import (
    ENGINE_WATCH_S,
    FIRST_TOKEN_TIMEOUT_S,
    KIB,
    MAX_FRAME,
    MAX_NAME,
    MIB,
    SCORE_TIMEOUT_S,
)

# -- inference: requests and answers
MAX_BODY: Final = MIB  # a request's body: 128k tokens of English text have 600 KiB
MAX_MESSAGES: Final = 4096  # of one conversation
MAX_CALLS: Final = 128  # of tools in one message
MAX_TOOLS: Final = 128  # that one request offers
MAX_TEMPLATE_ARGS: Final = 4 * KIB  # of variables for the chat template
MAX_GRAMMAR: Final = 128 * KIB  # the source of a grammar, such as a JSON schema
MAX_PATTERN: Final = 16 * KIB  # characters of a regex, or of a grammar in Lark
MAX_SCHEMA_COUNT: Final = 10_000  # of minItems, maxItems, minProperties and maxProperties in a schema: each costs a KiB
GRAMMAR_CPU_S: Final = 1  # of the process that tries a new grammar, whole seconds; a usual one takes 0.1
GRAMMAR_PATIENCE: Final = 4  # times that, for a validator: no grammar that was served may go unjudged
GRAMMAR_WALL_S: Final = 20.0  # and after so long it is ended on a machine that is busy
GRAMMAR_MEMORY: Final = 512 * MIB  # address space of that process
GRAMMAR_TRIALS: Final = 2  # such processes at once
GRAMMARS_TRIED: Final = 1024  # grammars whose trial is remembered
GRAMMARS_KEPT: Final = 8  # compiled grammars that are kept: the largest have tens of MiB
MAX_STOPS: Final = 16  # stop strings
MAX_STOP: Final = 256  # characters of one
MAX_BIASES: Final = 1024  # tokens with a bias
MAX_OUTPUT_TOKENS: Final = 1 << 17  # of one answer: the largest context that open models have
MAX_TOKENS_PER_FRAME: Final = 4096
MAX_ARTIFACT: Final = 32 * MAX_OUTPUT_TOKENS + 64 * KIB  # an answer's artifact: 32 bytes a token, and its header
MAX_MODEL_NAME: Final = MAX_NAME
MAX_NETWORK_NAME: Final = 63  # characters; with '@' and 32 digits of the genesis hash, an id of at most MAX_NAME
MAX_VOCABULARY: Final = 1 << 18  # token ids are below it: what a row of an artifact can hold
MAX_TEMPLATE_TOKENS: Final = 16  # special tokens that a model's chat template may name
MAX_EOS_IDS: Final = 16  # token ids that end an answer of one model
MAX_TOP_K: Final = 64
TOP_RANKS: Final = 8  # candidates kept per token in an artifact
LEAF_POSITIONS: Final = 32  # token positions per Merkle leaf of an artifact
REVEAL_POSITIONS: Final = 16  # positions at which a validator shows its own numbers
REVEAL_RANKS: Final = 4  # candidates it shows at each: the next ones after those that the artifact shows
MAX_CANDIDATES: Final = 8  # executors tried for one request
MAX_HANDOVERS: Final = MAX_CANDIDATES - 1  # executors whose tokens the last one may have taken over
MAX_TOKEN_TEXT: Final = 512  # text of one token
MAX_TOKENIZER: Final = 64 * MIB  # a tokenizer.json
MAX_MODEL_CONFIG: Final = 16 * MIB  # one of a model's other JSON files: Gemma's tokenizer_config.json has 1.1 MiB
MAX_TEMPLATE: Final = 256 * KIB  # a chat template: the longest that models have are 20 KiB
MAX_RENDERED: Final = 4 * MIB  # characters that a template makes of a body, and of any text on the way
MAX_TEMPLATE_STEPS: Final = 1 << 19  # loop turns, calls (5 each), and KiB of text in one rendering: two seconds
MAX_JSON_DEPTH: Final = 64  # levels of JSON in an HTTP request, or inside a body: a tool's parameters, arguments
MAX_KEPT_PROMPTS: Final = 32  # prompts whose tokens one model's text remembers: at most 16 MiB
MAX_KEPT_TEMPLATES: Final = 16  # compiled chat templates
MAX_HELD_TOKENS: Final = 32  # tokens of one answer that are held back and shown in one frame
SHOW_EVERY_S: Final = 0.05  # faster tokens share a frame and a signature: nobody reads above 20 frames a second
MAX_AFTER_STOP: Final = 512  # tokens on their way after the agent's Stop: a fast engine fills every buffer between

# -- inference: what a client or an agent may make others do
SESSION_HEIGHTS: Final = 3600  # between the draw of a session and its last request: an hour of blocks a second
BEACON_MAX_AGE: Final = 16  # heights by which a client's draw may lag behind the agent's tip: round trips take blocks
HEIGHTS_APART: Final = 4  # heights between the tips of two peers that are both in sync
MAX_NONCE_AHEAD: Final = 1024  # nonces above an account's highest used one: one signature cannot use them all up
MAX_REQUESTS_AT_ONCE: Final = 256  # requests of all clients, on an agent that keeps up
ENTRANCE_LEAST: Final = 1  # requests of all clients, on an agent that does not keep up
ENTRANCE_LEAST_BEHIND: Final = 1 / 16  # and on one with more duties than it keeps up with: one, so much of the time
ENTRANCE_LOOK_S: Final = 0.25  # between two changes of that number
AGENT_WAITS: Final = 8  # for an agent that has too many requests; then its client gives up: some ten seconds
AGENT_WAIT_S: Final = 1.0  # for each height that such an agent names: what an empty block takes
MAX_AGENT_WAIT: Final = 8  # heights; an agent that names more is not waited for
MAX_JOBS_PER_PEER: Final = 16  # requests running at once on one executor
MAX_UNSTARTED: Final = 4  # answers for one agent that it never put on chain, or did not confirm
MAX_UNPAID: Final = 2  # answers for one account whose money was spent elsewhere when its Start came
MAX_AHEAD: Final = 4  # answers for one account that an executor begins before their Start is on chain
MAX_AHEAD_ACCOUNTS: Final = 4096  # accounts for which an executor remembers that number
MAX_WAITING_STARTS: Final = 64  # requests that wait for their Start at once
WAITING_OF_ACCOUNT: Final = 4  # of these, for one account
WAITING_OF_AGENT: Final = 8  # of these, from one agent without weight
START_WAIT_S: Final = 20.0  # each of these waits so long
START_POLL_S: Final = 0.2  # and looks so often
MAX_ONCE: Final = 4096  # requests for which a peer remembers that it made a statement
MAX_METERED: Final = 1024  # accounts, or agents, whose use is remembered
MAX_FETCHES: Final = 64  # payloads a validator looks for at once: one that hides many must not block the others
MAX_SPRINT_ANSWERS: Final = 1 << 16  # answers under one commitment: its proofs have at most 16 hashes
SPRINT_COMMIT_LEAD: Final = 3  # heights before the sprint's end at which a peer commits, so that a block takes it

# -- inference: the scheduler of a host's ML nodes (p2p/scheduling)
MAX_ML_NODES: Final = 16  # of one peer: each is a process, a task and a log
MAX_NODE_JOBS: Final = 1024  # that the settings may allow on one ML node at once
QUEUE_AGE_S: Final = 15.0  # for which a client's request waits for a place; then its agent asks another executor
CHECK_AGE_S: Final = 600.0  # the same for a check without a time of its own
SPRINT_AGE_S: Final = 3600.0  # the same for an answer of the sprint
MAX_QUEUED: Final = 256  # jobs of one class that wait for one model
QUEUED_OF_ACCOUNT: Final = 64  # of these, of one account
CHECKS_PER_NODE: Final = 2  # checks at once on one ML node: a prefill slows every answer that runs beside it
CHECK_SHARE: Final = 1 / 8  # of an engine's time that checks get while it makes answers
DUE_SHARE: Final = 1 / 2  # the same from the middle of a check's window on
LATE_SHARE: Final = 3 / 4  # and when as long has passed again
CHECK_PATIENCE_S: Final = 30.0  # after which a check is due in an engine, however long its window
CHECK_STEP_S: Final = 0.25  # that a step of an engine with tokens of a check takes: an answer that comes waits for it
CHECK_CHUNK_LEAST: Final = 128  # tokens of checks in such a step, on an engine however slow or fast
CHECK_CHUNK_MOST: Final = 1 << 14
PAID_TURN: Final = 4  # requests of own clients after which a stranger's that waits has its turn
CHECK_TURN: Final = 16  # jobs after which a check that waits has its turn
SPRINT_TURN: Final = 64  # and an answer of the sprint
MAX_OVERTAKEN: Final = 16  # jobs that may overtake one for which there is no room yet
KV_FULL: Final = 0.95  # share of the KV cache from which on an ML node that works gets nothing more
ENGINE_QUEUE_S: Final = 3.0  # for which an engine's own queue may hold jobs before it gets no more: two looks
MAX_AFFINE: Final = 4096  # sessions for which the ML node that served them last is remembered
AFFINE_S: Final = 3600.0  # after their last turn: by then SESSION_HEIGHTS are over
RETRY_LEAST_S: Final = 1  # shortest and longest time that a Busy names
RETRY_MOST_S: Final = 60
RATE_HALF_S: Final = 60.0  # in which a measured rate counts half
MAX_METRICS: Final = MIB  # of an engine's /metrics: vLLM's has some 100 KiB
MAX_METRICS_LINES: Final = 1 << 14
MAX_METRICS_LINE: Final = 16 * KIB  # characters of one line: vLLM's longest names some 50 settings
METRICS_TIMEOUT_S: Final = 5.0  # for one look at an engine

# -- inference: the engine
MAX_ENGINE_ROWS: Final = 16  # sequences in one batch of the torch engine
MAX_ENGINE_QUEUE: Final = 64  # jobs waiting for it
PREFILL_TOKENS: Final = 4096  # tokens in one prefill pass of several sequences, padding included

# -- clients
TIP_GOOD_S: Final = 4.0  # seconds for which a client signs on a tip: fewer than BEACON_MAX_AGE heights
TIP_ASK_S: Final = 1.5  # between two questions for the tips that are used
TIP_USED_S: Final = 20.0  # after the last question for which tips are asked
MAX_KEPT_TIPS: Final = 16  # peers, accounts and models for which a client keeps one
CLIENT_PEERS: Final = 4  # connections that a client keeps, to choose among
CLIENT_TRIES: Final = 6  # peers asked in a row with one question, without a token from any
CLIENT_RESUMES: Final = 8  # times that one answer is continued at another peer
CLIENT_PAUSE_FIRST_S: Final = 0.25  # before a peer is asked once more with the same question; then twice as long
CLIENT_PAUSE_MAX_S: Final = 4.0
CLIENT_CONNECT_S: Final = 15.0  # for the first connection
CLIENT_CLOSE_S: Final = 10.0  # for an answer to end that nobody reads any more
CLIENT_AHEAD: Final = 64  # events of an answer that wait for a reader in another thread
CLIENT_FILE_S: Final = 120.0  # for a model's file, from all peers that are asked for it
PEER_AVOID_FIRST_S: Final = 2.0  # for which a peer that failed is asked last; then twice as long each time
PEER_AVOID_MAX_S: Final = 120.0
PEER_FORGET_S: Final = 300.0  # after which a measured latency counts no more, and the peer is measured again
MAX_CHOICES: Final = 1024  # peers whose latency is remembered
MODEL_CHUNK: Final = 512 * KIB  # of a model's file in one answer
MAX_TEMPLATE_FILE: Final = MIB  # a chat template
MODEL_CACHE: Final = 512 * MIB  # of models' tokenizers and templates on disk

# -- gateway: HTTP on the user's own machine
MAX_HTTP_BODY: Final = 4 * MIB  # one request: JSON doubles a text at worst that people write, and a Body has MAX_BODY
MAX_HTTP_HEAD: Final = 32 * KIB  # request line and headers
MAX_HTTP_CONNECTIONS: Final = 2048  # above it, the one that has been idle longest gives way
MAX_HTTP_REQUESTS: Final = 128  # in progress at once; more get 429: 512 MiB of bodies at worst
MAX_JSON_DIGITS: Final = 40  # of one number
MAX_ANSWERS: Final = 16  # answers to one request: `n` times its prompts
MAX_GATEWAY_SESSIONS: Final = 1024  # conversations whose executors are remembered
MAX_STORED_RESPONSES: Final = 512  # answers of /v1/responses that a later one may continue
MAX_STORED_TEXT: Final = 64 * MIB  # characters of these together
MAX_API_KEYS: Final = 256  # in a key file
MAX_API_KEY: Final = 256  # characters of one
DEFAULT_ANSWER_TOKENS: Final = 4096  # of an answer whose caller names no bound; less where the context ends before
HTTP_HEAD_S: Final = 10.0  # from a request's first byte to the end of its headers
HTTP_BODY_S: Final = 30.0  # for the whole body
HTTP_IDLE_S: Final = 75.0  # of a connection between two requests, or before the first
HTTP_SEND_S: Final = 30.0  # for a client to take 64 KiB; then it does not read, and its answer ends
HTTP_LINGER_S: Final = 2.0  # in which a refused client may read the refusal while it still sends
HTTP_LINGER: Final = 8 * MIB  # bytes of such a client that are thrown away
HTTP_DRAIN_S: Final = 30.0  # for running answers, when the gateway is told to end
KEEP_ALIVE_S: Final = 10.0  # between two signs of life on a stream: proxies and clients give up after 30 to 60
# Before a stream's headers: a client of the network gives up overloaded peers in less (AGENT_WAITS), and only before
# the headers a refusal has a status that callers know how to repeat.
HEADERS_WAIT_S: Final = 25.0

# -- explorer: pages for people, open to whoever reaches the port (p2p/explorer)
EXPLORER_REQUESTS: Final = 64  # in progress at once, streams of events not counted; more get 429
EXPLORER_ASKS: Final = 8  # questions to peers at once
EXPLORER_ASKS_A_SECOND: Final = 40.0  # that visitors cause: a fifth of what a peer lets one stranger ask
EXPLORER_ASK_S: Final = 10.0  # for one of them
EXPLORER_FIRST_BLOCKS: Final = 256  # read when it starts, and after a gap
EXPLORER_AT_ONCE: Final = 32  # blocks read between two looks at the height
EXPLORER_BLOCKS: Final = 4096  # the newest ones, whose rows stay in memory: an hour of blocks a second
EXPLORER_INFERENCES: Final = 4096
EXPLORER_STEPS: Final = 64  # records about one inference whose heights are remembered
EXPLORER_TOUCHED: Final = 64  # inferences of one block that are read at once; the others when somebody looks
EXPLORER_PRICES: Final = 1024  # changes of one model's price
EXPLORER_MODELS: Final = 64
EXPLORER_DRAWS: Final = 1024  # inferences whose draw's proofs are kept,
EXPLORER_DRAW_BYTES: Final = 16 * MIB  # and all of them together
EXPLORER_CACHE: Final = 1024  # answers that are kept,
EXPLORER_CACHE_BYTES: Final = 16 * MIB  # and all of them together
EXPLORER_PAGE: Final = 100  # rows of one answer
EXPLORER_PEERS: Final = 32  # peers whose status is asked for
EXPLORER_PEERS_S: Final = 3.0  # between two looks at them
EXPLORER_LISTENERS: Final = 64  # streams of events
EXPLORER_AHEAD: Final = 64  # events that wait for one listener; then it is too slow, and its stream ends
EXPLORER_EVENTS: Final = 256  # that a listener who comes back is told
HOSTS_TIMED: Final = 1024  # executors whose times a gateway remembers
KEPT_PROOFS: Final = 256  # answers whose proofs a gateway keeps,
KEPT_PROOF_BYTES: Final = 64 * MIB  # and all of them together

assert START_POLL_S < START_WAIT_S < FIRST_TOKEN_TIMEOUT_S
assert MAX_ARTIFACT + MAX_BODY + 16 * KIB <= MAX_FRAME
assert MAX_PATTERN < MAX_GRAMMAR
assert MAX_GRAMMAR + MAX_STOPS * MAX_STOP < MAX_BODY
assert ENGINE_WATCH_S < ENGINE_QUEUE_S < QUEUE_AGE_S < FIRST_TOKEN_TIMEOUT_S / 2
assert QUEUED_OF_ACCOUNT < MAX_QUEUED
assert 4 * CHECK_PATIENCE_S <= SCORE_TIMEOUT_S  # so half of it is left when a check has LATE_SHARE
assert 0 < CHECK_SHARE < DUE_SHARE < LATE_SHARE < 1
assert MAX_METRICS_LINE * 8 < MAX_METRICS

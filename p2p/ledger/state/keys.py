"""The key layout: which key of the state holds what. Law: every key that the ledger reads or writes is made here; no
two entries share a key.

A key is a prefix and, after it, what tells records of one kind apart. Numbers are eight bytes, big-endian, so keys sort
by height and epoch. No prefix begins another one. The bytes are part of the state's hash: to change one is to change
the protocol.
"""

from __future__ import annotations

HEIGHT_BYTES = 8
ID_BYTES = 32  # of a node key, an account key, an inference id, a commitment, a proposal id
NUMBER_BYTES = 4  # of an inference's place among those of one node that ended in one epoch


def of_number(value: int) -> bytes:
    """A height or an epoch as it stands in keys. Raises OverflowError for one below 0 or above 64 bits."""
    return value.to_bytes(HEIGHT_BYTES, "big")


# -- accounts and money ------------------------------------------------------------------------------------------------

TOTALS = b"totals"  # Totals


def account(public: bytes) -> bytes:
    """-> Account."""
    return b"acct/" + public


def limits(public: bytes) -> bytes:
    """Caps and hot keys of an account -> Limits."""
    return b"limits/" + public


def notices(public: bytes) -> bytes:
    """What an account is told when it asks -> Notices."""
    return b"note/" + public


def price(model: str) -> bytes:
    """-> Price."""
    return b"price/" + model.encode()


def use(model: str, height: int) -> bytes:
    """Output tokens of a model that were booked at a height -> eight bytes. Heights below 0 count as 0."""
    return b"use/" + of_number(max(height, 0)) + model.encode()


def earning(epoch: int, node: bytes) -> bytes:
    """-> Earning."""
    return b"earn/" + of_number(epoch) + node


def earners(epoch: int) -> bytes:
    """Nodes with an Earning in an epoch -> list of node keys."""
    return b"earners/" + of_number(epoch)


def ended(epoch: int, node: bytes, number: int) -> bytes:
    """The inference that ended as this node's number `number` in an epoch -> its id."""
    return b"ended/" + of_number(epoch) + node + number.to_bytes(NUMBER_BYTES, "big")


def epoch_sums(epoch: int) -> bytes:
    """-> EpochSums."""
    return b"epoch/" + of_number(epoch)


# -- participants ------------------------------------------------------------------------------------------------------

PARTICIPANTS = b"parts"  # list of all current node keys, sorted
NEWCOMERS = b"new"  # height of the last registration (8 bytes), how many there were in that block (4 bytes)
SPRINT = b"sprint"  # Sprint
RUNS = b"runs"  # list of (node key, model name) of the running sprint's commitments
NEXT_WEIGHTS = b"weights"  # weights of the next epoch, from two heights before it on
PRIORITIES = b"set/priorities"  # proposer priorities of the next block's validators (chain/execution.py)
OFFENDERS = b"faults"  # list of node keys of validators with evidence of misconduct on chain


def participant(node: bytes) -> bytes:
    """-> Participant."""
    return b"part/" + node


def conduct(node: bytes) -> bytes:
    """-> Conduct."""
    return b"stand/" + node


def nodes_of(public: bytes) -> bytes:
    """Nodes of an account -> list of node keys."""
    return b"nodes/" + public


def first_key(node: bytes) -> bytes:
    """A node key that was given up -> the first key of its participant."""
    return b"moved/" + node


def key_now(origin: bytes) -> bytes:
    """The first key of a participant whose key was rotated -> its key now."""
    return b"line/" + origin


def held(node: bytes) -> bytes:
    """What an evicted node had at stake, until it is paid back -> Held."""
    return b"held/" + node


def last_owner(node: bytes) -> bytes:
    """A node that left -> the account that owned it last."""
    return b"gone/" + node


def past_of_node(node: bytes) -> bytes:
    """Convictions that a node which left has to answer for -> PastConvictions."""
    return b"past/node/" + node


def past_of_owner(public: bytes) -> bytes:
    """The same, of the nodes of an account that left -> PastConvictions."""
    return b"past/owner/" + public


def serving_versions(model: str) -> bytes:
    """-> Versions."""
    return b"serving/" + model.encode()


def serving_set(model: str, since: int) -> bytes:
    """-> ServingSet. No two of (model, since) share a key: the last nine bytes are the height's."""
    return b"serve/" + model.encode() + b"/" + of_number(since)


def run(node: bytes, model: str) -> bytes:
    """A commitment to the running sprint -> Run."""
    return run_named(run_name(node, model))


def run_name(node: bytes, model: str) -> bytes:
    """How RUNS names a commitment: the node key, then the model."""
    return node + model.encode()


def run_named(name: bytes) -> bytes:
    """-> Run. name: an entry of RUNS."""
    return b"run/" + name


def validator_set(which: bytes) -> bytes:
    """which: b"last", b"now" or b"next": the validators of the last block, of the next one, and of the one after
    that -> list of (node, weight)."""
    return b"set/" + which


# -- inferences --------------------------------------------------------------------------------------------------------

CHECK_COUNTERS = b"checks"  # CheckCounters
LEAVING = b"leaving"  # Leaving: how far the pruning of ended inferences is


def inference(inference_id: bytes) -> bytes:
    """-> Inference."""
    return b"inf/" + inference_id


def before_start(inference_id: bytes) -> bytes:
    """Records that wait for their inference's Start -> list of (sender, record)."""
    return b"early/" + inference_id


def duties(node: bytes) -> bytes:
    """What a validator was drawn to check -> list of inference ids."""
    return b"duty/" + node


def open_disputes(node: bytes) -> bytes:
    """Lost disputes of an executor that are not decided for good -> list of inference ids."""
    return b"cases/" + node


def plant(commitment: bytes) -> bytes:
    """An open commitment to a planted fault -> PlantSeen."""
    return b"plant/" + commitment


def plants_of(node: bytes) -> bytes:
    """An executor's open commitments to planted faults -> list of commitments."""
    return b"plants/" + node


# -- rules, models and votes -------------------------------------------------------------------------------------------

CHECK_RULES = b"rules/checks"  # CheckRules, once a vote has changed them
ECONOMY_RULES = b"rules/economy"  # EconomyRules, once a vote has changed them
MODELS = b"models"  # list of model names, sorted
PROPOSALS = b"props"  # list of proposal ids, oldest first


def model(name: str) -> bytes:
    """-> ModelSpec in force."""
    return b"model/" + name.encode()


def model_history(name: str) -> bytes:
    """-> earlier specs of a model, each with the last height it was in force at."""
    return b"model_past/" + name.encode()


def proposal(proposal_id: bytes) -> bytes:
    """-> Proposal."""
    return b"prop/" + proposal_id


# -- blocks ------------------------------------------------------------------------------------------------------------


def beacon(height: int) -> bytes:
    """-> the beacon of a block, 32 bytes."""
    return b"beacon/" + of_number(height)


def due(height: int) -> bytes:
    """What the end of a block looks at -> list of inference ids and of tagged ids (below)."""
    return b"due/" + of_number(height)


# A due entry of 32 bytes is an inference's id. Any other is one of these tags, and an id of 32 bytes behind it.
DUE_BEFORE_START = b"early:"  # inference id: records that waited for its Start are dropped
DUE_PLANT = b"plant:"  # commitment: its time is over
DUE_WITHDRAWAL = b"collat:"  # node key: collateral goes back to its owner
DUE_LEAVE = b"leave:"  # node key: the participant leaves
DUE_PROPOSAL = b"prop:"  # proposal id: its votes are counted

# What decides who serves which model; a view remembers whether a block put one of these (View.touched).
SERVING_FACTS = (b"part/", PARTICIPANTS, CHECK_RULES, ECONOMY_RULES, MODELS, b"model/", b"model_past/")

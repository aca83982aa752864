"""What must hold from end to end, each scenario as one test whose name says it. Law: real peers where it is about
peers, the pure ledger where it is about the chain; a scenario is proved once, here or where the table says.

scenario                               proved by
wrong agent signature                  test_chain.py: only_the_agent_itself_starts_and_reports
replay                                 test_peers.py: a_replayed_request_is_refused_by_every_agent
raw or duplicate Start                 test_chain.py: a_raw_start_is_no_transaction, a_duplicate_start_changes_nothing
direct call to the executor            test_peers.py: no_executor_works_for_a_client_that_poses_as_an_agent
  by an agent that never starts        tests/peer/test_agent_credit.py
Finish before Start
    test_chain.py: a_finish_waits_for_its_start, a_finish_without_a_start_is_forgotten
max_tokens absent, 0, 1, maximum, ...
    test_peers.py: max_tokens_*; charged: tests/ledger/money/test_money.py max_tokens_bounds_...
owed before settle                     test_chain.py: what_is_owed_cannot_be_spent_before_it_is_settled
failed inference refunds               test_chain.py: whatever_fails_the_client_has_everything_back
client leaves in mid-stream
    test_peers.py: a_client_that_leaves_pays_for_what_was_streamed, ..._before_the_first_token
executor dies in mid-stream
    tests/peer/test_failures.py: an_executor_killed_in_mid_stream_is_continued_by_the_next
executor stops by itself               test_stop.py
price locked at Start
    test_chain.py: the_price_of_the_start_is_paid_whatever_it_is_at_finish_and_settlement
power to zero and back
    test_chain.py: without_weight_nobody_is_drawn_and_with_it_again, a_planned_change_takes_the_vote_...
node disabled in mid-epoch
    test_chain.py: a_node_that_is_disabled_in_mid_epoch_*; its ML node: tests/peer/test_failures.py
a peer the genesis file does not know
    test_newcomer.py: a client with that file alone has it drawn, and checks its answer
quota
    test_peers.py: the_quota_*; never more in any window: tests/peer/test_quotas.py
"""

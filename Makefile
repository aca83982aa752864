# make demo | test | check | bench | clean; for verification: bench-verify | equal | cheats | families | evasion | fuzz | economy; against strangers: redteam; for gossip: sim-gossip | bench-gossip | bench-streams; for consensus: sim | twins | crash | soak | conformance | mutants | bench-consensus | bench-ledger | bench-scale | scale | flame | big-block | chaos; for test networks: networks; for operations: monitoring | operations; for serving: clients | failover | bench-serve | bench-checks | gateway-abuse | cache | nudges | agents; for the ledger: ledger-soak | epochs; for newcomers: newcomer | package | docs.
# Each sets up what it needs; a second run reuses it.
PYTHON ?= python3
PROMPT ?= What is the capital of France?
SEEDS ?= 2000
FIRST ?= 0
PEERS ?= 100
CASES ?= 10000
SOAK ?= 100000
INFERENCES ?= 2000
N ?= 1000000
TRANSACTIONS ?= 1000000
V := .venv/bin
.PHONY: monitoring demo test check bench clean setup engine sim sim-gossip twins crash soak conformance mutants bench-consensus bench-gossip bench-streams bench-ledger bench-scale scale flame big-block chaos networks clients pages pages-shots pages-weight failover bench-serve bench-checks fuzz redteam bench-verify cheats families economy epochs ledger-soak package newcomer docs bench-start operations evasion gateway-abuse cache nudges agents equal
export PROMPT

setup: .venv/.package
engine: .venv/.engine

# scripts/install.py shows each step with its size and time; pip's own lines go to .venv/setup.log
.venv/.package: pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "[setup] $(PYTHON) is missing: install Python 3.11 or 3.12, or make PYTHON=/path/to/python3.12"; exit 1; }
	@$(PYTHON) scripts/install.py package
	@touch $@

.venv/.engine: .venv/.package
	@$(PYTHON) scripts/install.py engine
	@touch $@

.venv/.node: .venv/.package scripts/install.py
	@$(PYTHON) scripts/install.py node
	@touch $@

.venv/.family: .venv/.engine scripts/install.py p2p/inference/stack/gemma.py p2p/inference/stack/gemma_chat.jinja
	@$(PYTHON) scripts/install.py family
	@touch $@

.venv/.network: .venv/.package
	@scripts/network-tools.sh
	@touch $@

.venv/.browser: .venv/.package scripts/browser-tools.sh
	@scripts/browser-tools.sh
	@touch $@

demo: .venv/.engine
	@$(V)/folkmoot testnet demo --dir .testnet/demo --prompt "$$PROMPT" $(if $(CHEAT),--cheat $(CHEAT)) $(if $(KEEP),--keep)

check: .venv/.engine
	@$(V)/ruff check .
	@$(V)/mypy

.venv/.monitoring: .venv/.package scripts/monitoring-tools.sh
	@scripts/monitoring-tools.sh
	@touch $@

monitoring: .venv/.monitoring
	@$(V)/python -m pytest -q -s tests/docs/test_monitoring.py tests/peer/operations_net.py -k "alert or prometheus"

operations: .venv/.monitoring
	@$(V)/python -m pytest -q -s tests/peer/test_operations_net.py tests/peer/operations_net.py

# some hundred processes start: where Python keeps no compiled files, each would compile all modules again
test: check .venv/.node .venv/.family .venv/.network .venv/.monitoring .venv/.browser
	@$(V)/python -m compileall -q p2p testnet bootstrap tests
	@PYTHONDONTWRITEBYTECODE= $(V)/python -m pytest --numprocesses=4 --dist=loadfile --no-loadscope-reorder --durations=10

bench: .venv/.engine
	@$(V)/python -m testnet.bench

bench-verify: .venv/.engine
	@$(V)/python -m p2p.lab.measure $(if $(MODEL),--model "$(MODEL)" --dir ".bench/$(notdir $(MODEL))") $(if $(SMALL),--small --dir .bench/small$(if $(MODEL),-$(notdir $(MODEL))))

# 100,000 honest tokens of equal kernels over the clients' whole space, judged by the exact rule; bench-verify goes on
# with what they left
equal: .venv/.engine
	@$(V)/python -m p2p.lab.measure.equal $(if $(TOKENS),--tokens $(TOKENS))

cheats: .venv/.engine
	@$(V)/python -m testnet.cheats $(if $(CAST),--cast $(CAST))

# CURVE: a folder of `python -m p2p.lab.measure.kernel_distance`, which the first run fills
evasion: .venv/.engine
	@$(V)/python -m p2p.lab.measure.kernel_distance $(or $(CURVE),.bench/curve)
	@$(V)/python -m p2p.lab.measure.drafts $(or $(CURVE),.bench/curve) --out p2p/lab/economy/evasion.json

families: .venv/.family
	@$(V)/python -m testnet.families $(if $(SHORT),--short)

sim: .venv/.package
	@$(V)/python -m tests.sim --seeds $(SEEDS) --first $(FIRST)
	@$(V)/python -m tests.sim.gossip --peers 40 --ratio 3 --end 45 loss30 flash eclipse lies

sim-gossip: .venv/.package
	@$(V)/python -m tests.sim.gossip --peers $(PEERS) $(SCENARIOS) $(if $(P3),--p3)

twins: .venv/.package
	@$(V)/python -m tests.sim.twins --cases $(CASES) --first $(FIRST)

crash: .venv/.package
	@$(V)/python -m tests.sim.crash

soak: .venv/.package
	@$(V)/python -m tests.sim --seeds $(SOAK) --first $(FIRST)

conformance: .venv/.package
	@$(V)/python -m tests.conformance $(VECTORS)

mutants: .venv/.package
	@$(V)/python -m tests.tools.mutants

bench-consensus: .venv/.package
	@$(V)/python -m tests.tools.bench_consensus

bench-gossip: .venv/.package
	@$(V)/python -m tests.tools.bench_gossip

bench-streams: .venv/.package
	@$(V)/python -m tests.tools.bench_streams

bench-ledger: .venv/.package
	@$(V)/python -m tests.tools.bench_ledger

bench-scale: .venv/.package
	@$(V)/python -m tests.tools.bench_scale $(if $(SIZES),--sizes $(SIZES)) $(if $(LOAD),--load $(LOAD)) $(if $(SECONDS_EACH),--seconds $(SECONDS_EACH))

scale: .venv/.package
	@$(V)/python -m tests.tools.scale $(if $(ONLY),--only $(ONLY))

.venv/.flame: .venv/.package
	@echo "[setup] py-spy, which samples a process (3 MB)"
	@$(V)/python -m pip install --quiet --disable-pip-version-check py-spy
	@touch $@

bench-start: .venv/.package
	@$(V)/python -m tests.tools.bench_start $(if $(RUNS),--runs $(RUNS))

flame: .venv/.flame
	@$(V)/python -m tests.tools.flame $(if $(OUT),--out $(OUT))

big-block: .venv/.package
	@$(V)/python -m testnet.big_block --inferences $(INFERENCES) $(if $(DEAF),--deaf)

chaos: .venv/.package
	@$(V)/python -m tests.tools.chaos

networks: .venv/.package
	@$(V)/python -m tests.tools.random_networks $(if $(COUNT),--count $(COUNT)) $(if $(filter-out 0,$(FIRST)),--first $(FIRST)) $(if $(FAULT),--fault $(FAULT))

bench-serve: .venv/.engine
	@$(V)/python -m tests.tools.bench_serve $(if $(PAIRS),--pairs $(PAIRS)) $(if $(CONCURRENCY),--concurrency $(CONCURRENCY)) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(ONLY),--only $(ONLY))

bench-checks: .venv/.engine
	@$(V)/python -m tests.tools.bench_checks $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(PROMPT),--prompt $(PROMPT)) $(if $(CHECKS),--checks $(CHECKS))

failover: .venv/.package
	@$(V)/python -m tests.tools.failover $(if $(STREAMS),--streams $(STREAMS)) $(if $(AGENTS),--agents $(AGENTS))

gateway-abuse: .venv/.package
	@$(V)/python -m tests.tools.abuse $(if $(SECONDS_EACH),--seconds $(SECONDS_EACH)) $(if $(ONLY),--only "$(ONLY)") $(if $(QUICK),--quick)

cache: .venv/.engine
	@$(V)/python -m tests.tools.cache_replay $(if $(TOKENS),--tokens $(TOKENS))

nudges: .venv/.engine
	@$(V)/python -m tests.tools.nudges $(if $(COUNT),--count $(COUNT))

agents: .venv/.engine .venv/.node
	@$(V)/python -m tests.tools.agents $(if $(OUT),--out $(OUT))

clients: .venv/.engine .venv/.node
	@$(V)/python -m tests.tools.clients $(if $(URL),--url "$(URL)") $(if $(KEY),--key "$(KEY)") $(if $(MODEL),--model "$(MODEL)") $(if $(ONLY),--only "$(ONLY)") $(if $(QUICK),--quick) $(if $(OUT),--out $(OUT))

pages: .venv/.package .venv/.node .venv/.browser
	@$(V)/python -m pytest tests/explorer tests/explorer/live_pages.py

pages-shots: .venv/.package .venv/.browser
	@$(V)/python -m tests.tools.pages_shots $(if $(STATES),--states $(STATES)) $(if $(OUT),--out $(OUT)) $(if $(URL),--url "$(URL)")

pages-weight: .venv/.package .venv/.browser
	@$(V)/python -m tests.tools.pages_weight $(if $(VISITS),--visits $(VISITS))

economy: .venv/.package
	@$(V)/python -m p2p simulate economy $(if $(FULL),--full --out docs/economy,--out docs/economy/quick)

redteam: .venv/.package
	@$(V)/python -m tests.redteam $(if $(ONLY),--only $(ONLY)) $(if $(SECONDS_EACH),--seconds $(SECONDS_EACH))

fuzz: .venv/.package
	@$(V)/python -m tests.fuzz.extreme_run --memory
	@$(V)/python -m tests.fuzz --count $(N) $(if $(SEED),--seed $(SEED)) $(if $(JOBS),--jobs $(JOBS))

epochs: .venv/.engine
	@$(V)/python -m testnet.epochs

ledger-soak: .venv/.package
	@$(V)/python -m tests.ledger.soak --transactions $(TRANSACTIONS) $(if $(SEED),--seed $(SEED)) $(if $(JOBS),--jobs $(JOBS))

package: .venv/.package
	@$(V)/python -m tests.tools.package $(if $(OUT),--out $(OUT))

newcomer: .venv/.package
	@$(V)/python -m tests.tools.newcomer $(if $(PATHS),--paths $(PATHS)) $(if $(ENGINE),--engine $(ENGINE)) $(if $(OUT),--out $(OUT))

# mkdocs has an environment of its own: what it depends on is nothing that a peer should have
.venv-docs/.ready: pyproject.toml
	@echo "[setup] mkdocs-material, in .venv-docs (25 MB)"
	@$(PYTHON) -m venv .venv-docs
	@.venv-docs/bin/python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['docs'], sep='\n')" > .venv-docs/docs.txt
	@.venv-docs/bin/pip install --quiet --disable-pip-version-check --requirement .venv-docs/docs.txt
	@touch $@

docs: .venv-docs/.ready
	@NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict --quiet --site-dir $(or $(OUT),build/site)
	@! grep -rlE '<(script|img)[^>]+src="https?:|<link[^>]+rel="(stylesheet|preconnect)"[^>]+href="https?:' $(or $(OUT),build/site) --include='*.html' || { echo "docs: these pages load something from elsewhere"; exit 1; }
	@echo "docs: $(or $(OUT),build/site)/index.html"

clean:
	rm -rf .venv .venv-docs .testnet .bench build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

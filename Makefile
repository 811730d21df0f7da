# MmNas: search a multimodal architecture, retrain it, look at it. `make` alone lists everything.
PYTHON ?= python3
VENV ?= .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.mmnas-ready
DEMO := data/demo/demo.json
# On a terminal pip shows its progress itself; a log gets its large downloads and its steps, a line each.
INSTALL := $(PY) -m pip install --disable-pip-version-check --editable '.[dev]'
STEPS := import re, sys; [print(line[:100].rstrip()) for line in sys.stdin if re.search(r"[MG]B\)|^ *(Installing|Building|Getting|Successfully)", line)]

.DEFAULT_GOAL := help
.PHONY: help setup vectors demo-data search retrain evidence tabular profile pareto report runs draw show predict page export dataset features pack bench growth reproduce test test-slow lint clean

# The flags that name data, and those both stages share; the configuration refuses what it does not know.
comma := ,
empty :=
space := $(empty) $(empty)
# MODEL comes last, so that the sizes it asks for win over those of a profile.
profiles = $(subst $(space),$(comma),$(strip $(PROFILE) $(MODEL)))
named = $(if $(TASK),--task='$(TASK)') $(if $(DATA),--data.root='$(DATA)') $(if $(DATASET),--data.dataset='$(DATASET)') \
	$(if $(FEAT),--data.feat='$(FEAT)') $(if $(profiles),--profile='$(profiles)') $(if $(SEED),--seed='$(SEED)')
shared = $(named) $(if $(SPLIT),--data.split='$(SPLIT)') $(if $(VERSION),--version='$(VERSION)') \
	$(if $(RESUME),--resume=$(if $(filter 1 true yes,$(RESUME)),true,$(if $(filter 0 false no,$(RESUME)),false,'$(RESUME)'))) \
	$(if $(GPU),--gpu='$(GPU)') $(if $(NW),--workers='$(NW)')
trained = $(if $(GENO),--geno='$(GENO)') $(if $(RUN),--run='$(RUN)') $(if $(CKPT),--ckpt='$(CKPT)')
# A batch of BS samples goes through in ACCUM parts; BS=auto leaves its size and looks for the fewest that fit.
steps = $(if $(filter auto,$(BS)),--$(1).accumulate=auto,$(if $(BS),--$(1).batch_size='$(BS)')) \
	$(if $(ACCUM),--$(1).accumulate='$(ACCUM)')
extra = $(foreach pair,$(ARGS),'--$(patsubst --%,%,$(pair))')

# What is misspelt would be passed over in silence. Names with _ may be meant for the environment, as CUDA_VISIBLE_DEVICES is.
known := ACCUM ARGS BOXES BS BUDGET CC CKPT COUNT DATA DATASET DRY EXTRACTOR FEAT FEATURES GENO GPU JOBS JSON MODEL NPZ NW OUT PICTURE \
	PICTURES PORT PROFILE PYTHON RESUME RM RUN SEED SHELL SLURM SPLIT TABLE TASK TEXT TMPDIR VENV VERSION
given := $(foreach name,$(.VARIABLES),$(if $(filter command,$(origin $(name))),$(if $(findstring _,$(name)),,$(name))))
unknown := $(filter-out $(known) -% MAKE%,$(given))
$(if $(unknown),$(error there is no variable $(unknown); make alone lists them, and keys of the configuration go into ARGS))

help:
	@echo "MmNas: search multimodal architectures, retrain them, draw them."
	@echo
	@echo "  make search TASK=itm       search an architecture      DATA DATASET VERSION MODEL PROFILE SPLIT FEAT"
	@echo "                             (tasks: itm vqa vgd)        RESUME=1 GPU NW BS ACCUM SEED ARGS"
	@echo "  make retrain GENO=...      train what was found        the same, and RUN=train|val|test CKPT"
	@echo "  make evidence TASK=itm     searched against random     DATA DATASET VERSION MODEL PROFILE SPLIT FEAT SEED"
	@echo "                             networks, and a verdict     BUDGET=hours JOBS DRY=1 SLURM GPU NW ARGS"
	@echo "  make tabular               ways to search compared     on a small space of which every network is trained"
	@echo "  make profile TASK=itm      what operations take here   DATA PROFILE MODEL GPU ARGS (for search.budget.latency)"
	@echo "  make pareto TASK=itm       scores against costs        SPLIT ARGS=\"cost=parameters\""
	@echo "  make report RUN=a,b,c      a page that compares runs   OUT=file.html (a search and a training end with their own)"
	@echo "  make runs                  all runs, as a list         RM=<version> (removes it, after asking)"
	@echo "  make draw GENO=...         figure of a genotype        OUT=file.svg|png|pdf|dot"
	@echo "                             (beside its file; logs/drawn/ for published ones and path@epoch)"
	@echo "  make show CKPT=...         predictions over pictures   DATA DATASET SPLIT FEAT PICTURES COUNT OUT"
	@echo "  make export CKPT=...       a network as ONNX           OUT=file.onnx (docs/export.md)"
	@echo "  make predict CKPT=...      answers about your pictures PICTURE TEXT (files, or folder and file) or TABLE,"
	@echo "                             (docs/your-own-data.md)     OUT JSON=1 EXTRACTOR FEATURES GPU"
	@echo "  make page CKPT=...         a page to ask it in         PORT EXTRACTOR FEATURES TASK GPU"
	@echo "  make vectors               install word vectors        (every task then takes them)"
	@echo "  make demo-data             make the built-in data      (search and retrain do it when needed)"
	@echo "  make dataset TASK=itm      pictures and a table:       PICTURES TABLE DATA BOXES SEED SKIP_BAD=1"
	@echo "                             a data root               (docs/your-own-data.md)"
	@echo "  make features PICTURES=... region features             DATA EXTRACTOR FEATURES NPZ=1 GPU NW BS"
	@echo "  make pack DATA=...         pack region features        (search and retrain do it when needed)"
	@echo "  make bench                 ours against plain code     ARGS=\"rows=laptop,retrain-vqa minutes=10 device=cuda\""
	@echo "  make growth                how cost grows with size    ARGS=\"device=cuda\""
	@echo "  make reproduce RUN=...     run a run again, compare    RUN=logs/log/<version>"
	@echo "  make test                  run the tests               make lint   check style"
	@echo "  make test-slow             runs killed, inputs damaged: the tests that take minutes"
	@echo "  make setup                 only install                make clean  remove what was built"
	@echo
	@echo "  DATA     data root, laid out as data/README.md says; default: the built-in demo data"
	@echo "  DATASET  itm: flickr, coco; vgd: refcoco, refcoco+, refcocog      GENO  path, path@epoch, or mcan,"
	@echo "  MODEL    small or large, the published sizes                            mmnas_vqa, mmnas_vgd, mmnas_itm"
	@echo "  PROFILE  overlays in configs/<task>.yaml: demo, mini, ...         VERSION  name of the run"
	@echo "  RESUME=1 go on with the run VERSION      GPU  number, several (0,1,2,3: a process on each), or cpu"
	@echo "  NW  loader processes      BS  batch size, or auto: in as few parts as fit into a GPU    ACCUM  parts of a batch"
	@echo "  ARGS     any configuration keys: ARGS=\"search.epochs=5 model.dropout=0.2\""
	@echo
	@echo "  $(PY) -m search --help and -m retrain --help explain every key."

$(READY): pyproject.toml setup.py readers/_boxes.pyx
	@echo "installing into $(VENV) (once; a few minutes)"
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@if [ -t 1 ]; then $(INSTALL); else \
		{ $(INSTALL) --progress-bar off || touch $@.failed; } | $(PY) -u -c '$(STEPS)'; \
		if [ -e $@.failed ]; then rm $@.failed; exit 1; fi; fi
	@$(PY) -c 'import readers._boxes' 2>/dev/null || echo "note: no C compiler, so box kernels run in NumPy (same numbers, slower)"
	@touch $@

setup: $(READY)

vectors: $(READY)
	@$(PY) -m tools.vectors

# The tool leaves demo data of its own make alone and replaces older ones.
$(DEMO): $(wildcard tools/demo/*.py) | $(READY)
	@$(PY) -m tools.demo
	@touch $@

demo-data: $(DEMO)

search: $(READY) $(if $(DATA),,$(if $(TASK),$(DEMO)))
	@$(PY) -m search $(shared) $(trained) $(call steps,search) $(extra)

retrain: $(READY) $(if $(DATA),,$(DEMO))
	@$(PY) -m retrain $(shared) $(trained) $(call steps,retrain) $(extra)

# It always goes on with what is there; its own make variables are those of a plan.
evidence: $(READY) $(if $(DATA),,$(DEMO))
	@$(PY) -m evidence $(named) $(if $(SPLIT),--data.split='$(SPLIT)') $(if $(VERSION),--version='$(VERSION)') \
		$(if $(GPU),--gpu='$(GPU)') $(if $(NW),--workers='$(NW)') $(if $(BUDGET),--budget='$(BUDGET)') \
		$(if $(JOBS),--jobs='$(JOBS)') $(if $(DRY),--dry_run) $(if $(SLURM),--slurm $(foreach pair,$(SLURM),'$(pair)')) $(extra)

tabular: $(READY)
	@$(PY) -m benchmarks.tabular $(extra)

profile: $(READY)
	@$(PY) -m tools.profile $(named) $(if $(GPU),--gpu='$(GPU)') $(extra)

pareto: $(READY)
	@$(PY) -m tools.pareto $(if $(TASK),--task='$(TASK)') $(if $(SPLIT),--split='$(SPLIT)') $(extra)

report: $(READY)
	@$(PY) -m report $(if $(RUN),--run='$(RUN)') $(if $(OUT),--out='$(OUT)') $(extra)

# make itself has a variable RM.
runs: $(READY)
	@$(PY) -m tools.runs $(if $(filter-out default,$(origin RM)),--rm='$(RM)') $(extra)

draw: $(READY)
	@$(PY) -m tools.draw $(if $(GENO),--geno='$(GENO)') $(if $(OUT),--out='$(OUT)')

show: $(READY) $(if $(DATA),,$(DEMO))
	@$(PY) -m tools.show $(named) $(if $(CKPT),--ckpt='$(CKPT)') $(if $(SPLIT),--split='$(SPLIT)') \
		$(if $(PICTURES),--pictures='$(PICTURES)') $(if $(COUNT),--count='$(COUNT)') $(if $(OUT),--out='$(OUT)') $(extra)

export: $(READY)
	@$(PY) -m tools.export $(if $(CKPT),--ckpt='$(CKPT)') $(if $(OUT),--out='$(OUT)') $(if $(TASK),--task='$(TASK)')

# A text may hold quotes, so it goes through the environment, where make puts what its command line sets.
predict: $(READY)
	@$(PY) -m tools.predict $(if $(CKPT),--ckpt='$(CKPT)') $(if $(PICTURE),--picture='$(PICTURE)') \
		$(if $(TEXT),--text="$$TEXT") $(if $(TABLE),--table='$(TABLE)') $(if $(OUT),--out='$(OUT)') \
		$(if $(filter 1 true yes,$(JSON)),--json) $(if $(EXTRACTOR),--extractor='$(EXTRACTOR)') \
		$(if $(FEATURES),--features='$(FEATURES)') $(if $(TASK),--task='$(TASK)') $(if $(GPU),--gpu='$(GPU)') $(extra)

page: $(READY)
	@$(PY) -m tools.page $(if $(CKPT),--ckpt='$(CKPT)') $(if $(PORT),--port='$(PORT)') $(if $(TASK),--task='$(TASK)') \
		$(if $(EXTRACTOR),--extractor='$(EXTRACTOR)') $(if $(FEATURES),--features='$(FEATURES)') $(if $(GPU),--gpu='$(GPU)')

dataset: $(READY)
	@$(PY) -m tools.dataset $(if $(TASK),--task='$(TASK)') $(if $(PICTURES),--pictures='$(PICTURES)') \
		$(if $(TABLE),--table='$(TABLE)') $(if $(DATA),--data='$(DATA)') $(if $(BOXES),--boxes='$(BOXES)') \
		$(if $(SEED),--seed='$(SEED)') $(if $(filter 1 true yes,$(SKIP_BAD)),--skip-bad)

features: $(READY)
	@$(PY) -m tools.features $(if $(PICTURES),--pictures='$(PICTURES)') $(if $(DATA),--data='$(DATA)') \
		$(if $(EXTRACTOR),--extractor='$(EXTRACTOR)') $(if $(FEATURES),--features='$(FEATURES)') \
		$(if $(filter 1 true yes,$(NPZ)),--npz) $(if $(GPU),--gpu='$(GPU)') $(if $(NW),--nw='$(NW)') $(if $(BS),--bs='$(BS)')

pack: $(READY)
	@$(PY) -m tools.pack $(if $(DATA),--data='$(DATA)')

bench: $(READY)
	@$(PY) -m benchmarks.run $(extra)

growth: $(READY)
	@$(PY) -m benchmarks.growth $(extra)

test: $(READY)
	@$(PY) -m pytest -n auto --maxprocesses=4 --dist loadfile

test-slow: $(READY)
	@$(PY) -m pytest -m slow -s

# Relative paths that the run was given are those of this folder.
reproduce: $(READY)
	@$(PY) -m tools.reproduce $(if $(RUN),--run='$(RUN)')

lint: $(READY)
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .

clean:
	rm -rf $(READY) build *.egg-info .pytest_cache .ruff_cache .hypothesis readers/_boxes.c readers/_boxes*.so
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

# What there is to do with the project. `make help` lists it.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
CARGO := hack/cargo

.PHONY: help
help: ## Lists the targets.
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## /{printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# What the targets run is built first, in sight: a first build takes minutes.
.PHONY: e2e-program
e2e-program:
	@$(CARGO) build --locked --package e2e --bin e2e

.PHONY: xtask-program
xtask-program:
	@$(CARGO) build --locked --package xtask

.PHONY: prepare
prepare: e2e-program ## Installs the Debian packages that the cluster and the tests need and that are missing.
	@$(CARGO) run --quiet --locked --package e2e -- preflight --install

.PHONY: demo
demo: kubernetes images ## Shows the load balancer at work on a real cluster of three nodes, and leaves the cluster up.
	@$(CARGO) run --quiet --locked --package e2e -- --instance demo demo

.PHONY: demo-down
demo-down: e2e-program ## Removes the demo's cluster.
	@$(CARGO) run --quiet --locked --package e2e -- --instance demo down

.PHONY: build
build: ## Compiles everything.
	@$(CARGO) build --workspace --all-targets --locked

.PHONY: images
images: xtask-program ## Writes the images into build/images/.
	@echo "Building the images (the first time takes a few minutes)"
	@$(CARGO) xtask images

.PHONY: kubernetes
kubernetes: prepare ## Compiles Kubernetes for the tests, once for a machine.
	@$(CARGO) run --quiet --locked --package e2e -- build

.PHONY: generate
generate: xtask-program ## Writes all generated files: CRDs, manifests, the bundle for OLM.
	@$(CARGO) xtask crdgen
	@$(CARGO) xtask manifests
	@$(CARGO) xtask bundle
	@$(CARGO) xtask chart

.PHONY: manifests
manifests: generate ## Writes config/manifests/metallb-operator.yaml, the one file to install from.

.PHONY: fmt
fmt: ## Formats the sources.
	@$(CARGO) fmt --all

.PHONY: check
check: xtask-program ## Formatting, clippy, layers, generated files.
	@$(CARGO) fmt --all --check
	@$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	@$(CARGO) xtask layers
	@$(CARGO) xtask crdgen --check
	@$(CARGO) xtask manifests --check
	@$(CARGO) xtask bundle --check
	@$(CARGO) xtask chart --check

.PHONY: test-unit
test-unit: prepare ## Tests that need no cluster. Some make network namespaces of their own and need root.
	@$(CARGO) test --workspace --exclude e2e --locked
	@$(CARGO) test --package e2e --locked --lib --bins --test chart

.PHONY: test-e2e
test-e2e: kubernetes images ## End-to-end tests on clusters of their own.
	@$(CARGO) test --package e2e --locked --test single
	@$(CARGO) test --package e2e --locked --test webhook
	@$(CARGO) test --package e2e --locked --test operator
	@$(CARGO) test --package e2e --locked --test install
	@$(CARGO) test --package e2e --locked --test cluster
	@$(CARGO) test --package e2e --locked --test failover
	@$(CARGO) test --package e2e --locked --test allocation
	@$(CARGO) test --package e2e --locked --test bgp
	@$(CARGO) test --package e2e --locked --test leftovers

.PHONY: olm
olm: kubernetes ## Compiles the Operator Lifecycle Manager and its validators for the tests, once for a machine.
	@$(CARGO) run --quiet --locked --package e2e -- build --olm

.PHONY: test-olm
test-olm: olm images ## The bundle before its validators, and installed, upgraded and removed by the real OLM.
	@$(CARGO) test --package e2e --locked --test olm

.PHONY: test
test: check test-unit test-e2e test-olm ## Everything that has to pass before a change lands.

.PHONY: soak
soak: kubernetes images ## The long tests: random cases by the ten thousand, the end-to-end suite three times over, 50 kills.
	@SIM_SEEDS=10000 $(CARGO) test --release --locked --package sim --test membership
	@PROPTEST_CASES=20000 $(CARGO) test --release --locked --package net --package ipam --package l2 --package config --package controller
	@for round in 1 2 3; do $(CARGO) test --package e2e --locked --test cluster; done
	@E2E_KILLS=50 $(CARGO) test --package e2e --locked --test allocation

//! The project's own chores: generated files, images and checks. `cargo xtask --help` lists them.

mod bench;
mod bundle;
mod catalog;
mod chart;
mod crdgen;
mod images;
mod layers;
mod manifests;
mod workspace;

use clap::{Parser, Subcommand};

/// Chores of the project: what `make` calls.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Writes the CustomResourceDefinitions of crate api into config/crd/.
    Crdgen {
        /// Changes nothing; fails when a file is not what would be written.
        #[arg(long)]
        check: bool,
    },
    /// Writes config/manifests/metallb-operator.yaml from config/.
    Manifests {
        /// Changes nothing; fails when the file is not what would be written.
        #[arg(long)]
        check: bool,
    },
    /// Writes bundle/, the operator as OLM installs it, from config/.
    Bundle(bundle::Options),
    /// Writes a catalog of bundles, from which OLM installs and upgrades.
    Catalog(catalog::Options),
    /// Writes charts/metallb, MetalLB for Helm, from config/ and what the operator makes.
    Chart {
        /// Changes nothing; fails when a file is not what would be written.
        #[arg(long)]
        check: bool,
    },
    /// Builds the static programs and writes their OCI images into build/images/.
    Images(images::Options),
    /// Measures, and prints one line a figure; fails where a bound is missed.
    Bench {
        /// What to measure; without it all that can be is listed.
        subject: Option<bench::Subject>,
    },
    /// Checks that dependencies point from programs to crates, from I/O to pure, never back.
    Layers,
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().chore {
        Chore::Crdgen { check } => crdgen::run(check),
        Chore::Manifests { check } => manifests::run(check),
        Chore::Bundle(options) => bundle::run(&options),
        Chore::Catalog(options) => catalog::run(&options),
        Chore::Chart { check } => chart::run(check),
        Chore::Images(options) => images::run(&options),
        Chore::Bench { subject } => bench::run(subject),
        Chore::Layers => layers::run(),
    }
}

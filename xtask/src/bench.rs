//! Measurements, in release builds: one line a figure.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;

use crate::workspace;

/// What can be measured.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Subject {
    /// Services on a real cluster: their addresses, their deletion, a restart. Takes minutes and needs the images.
    Controller,
    /// Admission reviews a second, and how long one takes with 200 at once.
    Webhook,
}

/// Runs the benchmark of that subject.
pub(crate) fn run(subject: Subject) -> Result<()> {
    let (package, bench) = match subject {
        Subject::Controller => ("e2e", "controller"),
        Subject::Webhook => ("webhook", "throughput"),
    };
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["bench", "--quiet", "--locked", "--package", package, "--bench", bench])
        .current_dir(workspace::root())
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "the benchmark failed (see above)");
    Ok(())
}

//! Measurements, as users of the project feel them; each figure stands beside its bound.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;

use crate::workspace;

/// What can be measured.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Subject {
    /// Services on a real cluster: their addresses, their deletion, a restart. Takes minutes and needs the images.
    Controller,
    /// How fast the operator answers a new resource and repairs what others change, and how large it is. Needs the images.
    Operator,
    /// Reading and validating a large configuration, and judging a change to it.
    Config,
    /// Allocations, and exchanges of addresses at a high fill.
    Ipam,
    /// Routes at routers: thousands of Services, one change, a hundred routers, and the memory for them. Needs root.
    Bgp,
    /// Layer 2: the first announcements of many addresses, how soon ARP is answered, what foreign ARP costs; then on a
    /// cluster how long hosts miss an address when its node dies. Takes a quarter of an hour and needs the images.
    L2,
    /// What speakers take with a thousand Services, and whether addresses stay where they are while both cores are busy for
    /// ten minutes. Needs the images.
    Speaker,
    /// Admission reviews a second by the controller with a large configuration, and how long one takes.
    Webhook,
}

/// Runs the benchmark of that subject, in release; fails where a bound is missed. Without one, lists what there is.
pub(crate) fn run(subject: Option<Subject>) -> Result<()> {
    let Some(subject) = subject else {
        for subject in Subject::value_variants() {
            let value = subject.to_possible_value().expect("no subject is hidden");
            let help = value.get_help().map(ToString::to_string).unwrap_or_default();
            println!("cargo xtask bench {:<10} {help}", value.get_name());
        }
        return Ok(());
    };
    let benches: &[(&str, &str)] = match subject {
        Subject::Controller => &[("e2e", "controller")],
        Subject::Operator => &[("e2e", "operator")],
        Subject::Config => &[("config", "config")],
        Subject::Ipam => &[("ipam", "allocation")],
        Subject::Bgp => &[("speaker", "bgp")],
        Subject::L2 => &[("l2", "announcing"), ("speaker", "layer2"), ("e2e", "takeover")],
        Subject::Speaker => &[("e2e", "speaker")],
        Subject::Webhook => &[("controller", "webhook")],
    };
    for (package, bench) in benches {
        let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["bench", "--quiet", "--locked", "--package", package, "--bench", bench])
            .current_dir(workspace::root())
            .status()
            .context("cannot run cargo")?;
        ensure!(status.success(), "a bound is missed, or the benchmark failed (see above)");
    }
    Ok(())
}

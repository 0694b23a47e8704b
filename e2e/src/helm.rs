//! Helm, for the tests of the chart.

use std::path::PathBuf;

use anyhow::Result;

use crate::Progress;
use crate::go::Module;

/// The program `helm`: from the cache, or built into it.
pub fn helm(progress: &Progress) -> Result<PathBuf> {
    let module = Module {
        what: "Helm (about 2 minutes",
        folder: "helm",
        sources: &["go.mod", "go.sum"],
        salt: String::new(),
        arguments: ["-ldflags", "-s -w"].map(str::to_owned).to_vec(),
        environment: &[("CGO_ENABLED", "0")],
        packages: &["helm.sh/helm/v3/cmd/helm"],
        programs: &["helm"],
    };
    Ok(module.built(progress)?.join("helm"))
}

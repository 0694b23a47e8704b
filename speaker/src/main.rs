//! The speaker's program.

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use speaker::args::Args;

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let bgp_type = std::env::var_os("METALLB_BGP_TYPE").unwrap_or_default();
    if let Err(nonsense) = args.check(&bgp_type.to_string_lossy()) {
        Args::command().error(ErrorKind::ArgumentConflict, nonsense).exit();
    }
    telemetry::init(args.log_level);
    // On the heap: it holds every task that is polled in place.
    match Box::pin(speaker::run(args)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

//! The program `operator`.

use std::process::ExitCode;

use clap::Parser;
use operator::settings::Flags;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let flags = Flags::parse();
    telemetry::init(flags.log_level);
    match operator::run(flags).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(why = format!("{error:#}"), "operator ends");
            ExitCode::FAILURE
        }
    }
}

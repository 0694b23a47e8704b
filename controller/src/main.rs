//! The program `controller`.

use clap::Parser;
use controller::Args;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    telemetry::init(args.log_level);
    controller::run(args).await
}

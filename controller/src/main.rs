//! The program `controller`.

use clap::Parser;
use controller::Args;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    args.check(&std::env::var("METALLB_BGP_TYPE").unwrap_or_default())?;
    telemetry::init(args.log_level);
    controller::run(args).await
}

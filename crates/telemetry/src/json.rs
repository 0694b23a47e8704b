//! Log lines: one compact JSON object each.
//!
//! `{"level":"info","ts":"2026-01-31T12:00:00.000Z","msg":"…",…}`, always with these three first and in this order,
//! then the fields of the event in the order in which the code names them.

use std::{
    fmt::{self, Write as _},
    io::Write,
    sync::Mutex,
};

use jiff::Timestamp;
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    Layer, Registry,
    filter::FilterFn,
    layer::{Context, SubscriberExt},
    util::SubscriberInitExt,
};

use crate::{LogLevel, filter};

/// Writes what this process logs at `level` or above as JSON lines to standard output, from now on.
///
/// Libraries are heard at [`LogLevel::All`] only. The first call in a process counts, later ones change nothing.
pub fn init(level: LogLevel) {
    // An error means that a subscriber is set already.
    subscriber(level, std::io::stdout()).try_init().ok();
}

fn subscriber(level: LogLevel, out: impl Write + Send + 'static) -> impl Subscriber + Send + Sync {
    let wanted =
        FilterFn::new(move |metadata| filter::wants(level, metadata)).with_max_level_hint(level.filter());
    Registry::default().with(JsonLines { out: Mutex::new(out) }.with_filter(wanted))
}

/// Writes each event as one line, whole lines only.
struct JsonLines<W> {
    out: Mutex<W>,
}

impl<S: Subscriber, W: Write + Send + 'static> Layer<S> for JsonLines<W> {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let line = line(event, Timestamp::now());
        let mut out = self.out.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // A reader that has gone away is no reason to stop working, and there is no other place to say it.
        out.write_all(line.as_bytes()).and_then(|()| out.flush()).ok();
    }
}

fn line(event: &Event<'_>, now: Timestamp) -> String {
    let mut fields = Fields::default();
    event.record(&mut fields);
    let level = match *event.metadata().level() {
        Level::TRACE => "trace",
        Level::DEBUG => "debug",
        Level::INFO => "info",
        Level::WARN => "warn",
        Level::ERROR => "error",
    };
    let msg = text(&fields.msg);
    format!("{{\"level\":\"{level}\",\"ts\":\"{now:.3}\",\"msg\":{msg}{}}}\n", fields.rest)
}

/// `value` as a JSON string.
fn text(value: &str) -> String {
    serde_json::Value::from(value).to_string()
}

/// The message and the other fields of an event, these as `,"name":value…`.
#[derive(Default)]
struct Fields {
    msg: String,
    rest: String,
}

impl Fields {
    /// Appends a field whose value is JSON already.
    fn push(&mut self, field: &Field, json: impl fmt::Display) {
        let name = text(field.name().trim_start_matches("r#"));
        write!(self.rest, ",{name}:{json}").expect("writing to a String does not fail");
    }

    fn push_text(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.msg);
        } else {
            self.push(field, text(value));
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.push_text(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.push_text(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.push_text(field, &value.to_string());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON knows no infinity: those become words.
        if value.is_finite() {
            self.push(field, value);
        } else {
            self.push_text(field, &value.to_string());
        }
    }
}

#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde_json::Value;
use tracing::subscriber::with_default;

use super::*;

/// A place to write to that the test can read.
#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no test panics while it writes").write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The lines that `say` writes at `level`, with the time replaced by TIME.
fn lines(level: LogLevel, say: impl FnOnce()) -> Vec<String> {
    let page = Page::default();
    with_default(subscriber(level, page.clone()), say);
    let bytes = page.0.lock().expect("writing is over").clone();
    let text = String::from_utf8(bytes).expect("a log line is UTF-8");
    text.lines()
        .map(|line| {
            let value: Value = serde_json::from_str(line).expect("a log line is JSON");
            let time = value["ts"].as_str().expect("a log line has a time");
            assert_eq!((time.len(), time.as_bytes()[19], time.ends_with('Z')), (24, b'.', true), "{time}");
            time.parse::<Timestamp>().expect("the time is RFC 3339");
            line.replace(time, "TIME")
        })
        .collect()
}

#[test]
fn a_line_is_compact_and_begins_with_level_time_and_message() {
    let written = lines(LogLevel::Info, || {
        tracing::info!(
            zebra = 1,
            ants = "two \"quoted\"\n",
            ok = true,
            share = 0.5,
            "assigned {}",
            "192.0.2.1"
        );
    });
    let expected = r#"{"level":"info","ts":"TIME","msg":"assigned 192.0.2.1","zebra":1,"ants":"two \"quoted\"\n","ok":true,"share":0.5}"#;
    assert_eq!(written, [expected]);
}

#[test]
fn errors_and_other_values_are_written_as_people_read_them() {
    let error = std::io::Error::other("no route to host");
    let written = lines(LogLevel::Info, || {
        let address = std::net::IpAddr::from([192, 0, 2, 1]);
        tracing::warn!(%address, error = &error as &dyn std::error::Error, names = ?["a"], r#type = f64::NAN, "x");
    });
    let expected = r#"{"level":"warn","ts":"TIME","msg":"x","address":"192.0.2.1","error":"no route to host","names":"[\"a\"]","type":"NaN"}"#;
    assert_eq!(written, [expected]);
}

#[test]
fn each_level_lets_through_what_is_as_grave_and_only_all_the_libraries() {
    let say = || {
        tracing::error!("e");
        tracing::warn!("w");
        tracing::info!("i");
        tracing::debug!("d");
        tracing::trace!("t");
        tracing::error!(target: "hyper::client", "library");
    };
    let cases = [
        (LogLevel::All, "e w i d t library"),
        (LogLevel::Debug, "e w i d"),
        (LogLevel::Info, "e w i"),
        (LogLevel::Warn, "e w"),
        (LogLevel::Error, "e"),
        (LogLevel::None, ""),
    ];
    for (level, expected) in cases {
        let messages: Vec<String> = lines(level, say)
            .iter()
            .map(|line| serde_json::from_str::<Value>(line).expect("a log line is JSON"))
            .map(|value| value["msg"].as_str().expect("a log line has a message").to_owned())
            .collect();
        assert_eq!(messages.join(" "), expected, "at {level}");
    }
}

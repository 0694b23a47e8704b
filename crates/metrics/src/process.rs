//! The process as the kernel sees it (proc(5)), under the names of Prometheus' own clients.

use std::{fs, path::PathBuf};

use prometheus::{
    core::{Collector, Desc},
    proto::{Counter, Gauge, Metric, MetricFamily, MetricType},
};

/// Clock ticks per second in /proc, on every architecture that we build for (USER_HZ).
const TICKS: f64 = 100.0;

/// Reads /proc at each scrape. What cannot be read is left out.
#[derive(Debug)]
pub(crate) struct Process {
    proc: PathBuf,
    descs: [Desc; 6],
}

/// Name, help and kind, in the order of [`Process::values`].
const METRICS: [(&str, &str, MetricType); 6] = [
    (
        "process_cpu_seconds_total",
        "Processor time used, in user and system mode, in seconds",
        MetricType::COUNTER,
    ),
    ("process_max_fds", "File descriptors that may be open at once", MetricType::GAUGE),
    ("process_open_fds", "File descriptors that are open", MetricType::GAUGE),
    ("process_resident_memory_bytes", "Memory in use, in bytes", MetricType::GAUGE),
    ("process_start_time_seconds", "Start of the process, in seconds since 1970", MetricType::GAUGE),
    ("process_virtual_memory_bytes", "Address space in use, in bytes", MetricType::GAUGE),
];

impl Process {
    pub(crate) fn new() -> Self {
        Self::at("/proc".into())
    }

    fn at(proc: PathBuf) -> Self {
        let descs = METRICS.map(|(name, help, _)| {
            Desc::new(name.into(), help.into(), Vec::new(), std::collections::HashMap::new())
                .expect("these names are valid")
        });
        Self { proc, descs }
    }

    fn values(&self) -> [Option<f64>; 6] {
        let read = |name: &str| fs::read_to_string(self.proc.join(name)).unwrap_or_default();
        let (stat, status, limits) = (read("self/stat"), read("self/status"), read("self/limits"));
        let started = stat_field(&stat, 22).zip(after(&read("stat"), "btime "));
        // One of them is the reading of the folder itself.
        let open = fs::read_dir(self.proc.join("self/fd")).map(|files| files.count().saturating_sub(1));
        [
            stat_field(&stat, 14).zip(stat_field(&stat, 15)).map(|(user, system)| (user + system) / TICKS),
            after(&limits, "Max open files"),
            #[expect(clippy::cast_precision_loss, reason = "no process has 2^52 open files")]
            open.ok().map(|open| open as f64),
            after(&status, "VmRSS:").map(|kilobytes| kilobytes * 1024.0),
            started.map(|(ticks, boot)| boot + ticks / TICKS),
            stat_field(&stat, 23),
        ]
    }
}

/// Field `number`, counted from 1 as in proc_pid_stat(5), of the fields after the name of the program.
fn stat_field(stat: &str, number: usize) -> Option<f64> {
    // The name is in brackets and may itself contain brackets and blanks.
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(number - 3)?.trim().parse().ok()
}

/// The number in the line that starts with `label`.
fn after(text: &str, label: &str) -> Option<f64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(label))?;
    rest.split_whitespace().next()?.parse().ok()
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let values = METRICS.iter().zip(self.values());
        values.filter_map(|(&(name, help, kind), value)| Some(family(name, help, kind, value?))).collect()
    }
}

fn family(name: &str, help: &str, kind: MetricType, value: f64) -> MetricFamily {
    let mut metric = Metric::default();
    if kind == MetricType::COUNTER {
        let mut counter = Counter::default();
        counter.set_value(value);
        metric.set_counter(counter);
    } else {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        metric.set_gauge(gauge);
    }
    let mut family = MetricFamily::default();
    family.set_name(name.into());
    family.set_help(help.into());
    family.set_field_type(kind);
    family.set_metric(vec![metric]);
    family
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_whose_name_looks_like_fields_is_read_right() {
        let stat = "7 (a) S 1 (b) R 1 2 3 4 -1 5 6 7 8 9 150 50 0 0 20 0 1 0 4200 8192 77 0\n";
        assert_eq!([14, 15, 22, 23].map(|n| stat_field(stat, n)), [150.0, 50.0, 4200.0, 8192.0].map(Some));
        assert_eq!(stat_field("", 14), None);
        assert_eq!(stat_field("7 (a) S 1", 14), None);
    }

    #[test]
    fn a_line_is_found_by_its_label_and_what_is_no_number_is_none() {
        let text = "cpu 1\nVmRSS:\t    1234 kB\nMax open files            1024        4096  files\n";
        assert_eq!(after(text, "VmRSS:"), Some(1234.0));
        assert_eq!(after(text, "Max open files"), Some(1024.0));
        assert_eq!(after("Max open files   unlimited", "Max open files"), None);
        assert_eq!(after(text, "btime "), None);
    }

    #[test]
    fn this_process_is_described_in_full_and_plausibly() {
        let [cpu, max_open, open, resident, start, size] =
            Process::new().values().map(|value| value.expect("the kernel tells all of them"));
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now = now.expect("it is after 1970").as_secs_f64();
        assert!((0.0..3600.0).contains(&cpu), "{cpu}");
        assert!(open >= 3.0 && max_open >= open, "{open} of {max_open}");
        assert!(resident > 100_000.0 && size >= resident, "{resident} of {size}");
        assert!((now - 3600.0..now + 10.0).contains(&start), "{start} and now {now}");
    }

    #[test]
    fn without_proc_nothing_is_told() {
        assert!(Process::at("/nonexistent".into()).collect().is_empty());
    }
}

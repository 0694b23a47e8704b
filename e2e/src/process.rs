//! Finding and running processes.

use std::{
    env,
    ffi::OsString,
    fs,
    io::Write as _,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use anyhow::{Context, Result, bail};

/// The PATH with the system's folders, which `su` and `sudo` may leave out.
pub(crate) fn path() -> OsString {
    let own = env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from);
    // A folder whose name holds a colon cannot be in a PATH, so it came out of none.
    env::join_paths(env::split_paths(&own).chain(system)).unwrap_or(own)
}

/// Runs a command to its end and returns its standard output.
///
/// Fails when it cannot start or does not succeed, with its standard error.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("starting {}", told(command)))?;
    succeeded(command, &output)
}

/// As [`run`], with text on its standard input.
pub(crate) fn run_with_stdin(command: &mut Command, stdin: &[u8]) -> Result<String> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("starting {}", told(command)))?;
    let mut pipe = child.stdin.take().expect("stdin is piped");
    let output = std::thread::scope(|scope| {
        // A command that ends early closes the pipe; its own error tells why.
        scope.spawn(move || pipe.write_all(stdin).ok());
        child.wait_with_output()
    })
    .with_context(|| format!("waiting for {}", told(command)))?;
    succeeded(command, &output)
}

fn succeeded(command: &Command, output: &Output) -> Result<String> {
    let stdout = String::from_utf8_lossy(&output.stdout);
    if output.status.success() {
        return Ok(stdout.into_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let said = if stderr.trim().is_empty() { stdout } else { stderr };
    bail!("{} failed ({}): {}", told(command), output.status, said.trim())
}

/// A command as a person would type it.
fn told(command: &Command) -> String {
    let words = [command.get_program()].into_iter().chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// Every process that can be seen from here.
pub(crate) fn all() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// The processes whose parent is `parent`.
pub(crate) fn children(parent: u32) -> Vec<u32> {
    all()
        .into_iter()
        .filter(|pid| {
            fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| parent_in(&stat) == Some(parent))
        })
        .collect()
}

/// The parent in a line of proc_pid_stat(5). The command's name stands before it in
/// brackets and may hold anything.
fn parent_in(stat: &str) -> Option<u32> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

/// The arguments of a process; empty when it is gone.
pub(crate) fn arguments(pid: u32) -> Vec<String> {
    let text = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    text.split(|&byte| byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

/// The init process of a host, as seen from where `supervisor` is that process's id:
/// the supervisor's child is `unshare`, and its child is what we look for.
pub(crate) fn host_init(supervisor: u32, host: &str) -> Option<u32> {
    children(supervisor).into_iter().flat_map(children).find(|&pid| {
        let arguments = arguments(pid);
        arguments.get(1).is_some_and(|role| role == "__host")
            && arguments.get(3).is_some_and(|name| name == host)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_found_behind_any_command_name() {
        assert_eq!(parent_in("12 (a) b (c)) S 7 12 12 0"), Some(7));
        assert_eq!(parent_in("garbage"), None);
    }

    #[test]
    fn the_error_of_a_command_has_its_words_and_its_complaint() {
        let error =
            run(Command::new("sh").args(["-c", "echo no such thing >&2; exit 3"])).expect_err("it exits 3");
        let text = error.to_string();
        assert!(text.contains("sh -c") && text.contains("no such thing") && text.contains('3'), "{text}");
    }

    #[test]
    fn text_reaches_a_commands_standard_input() {
        assert_eq!(run_with_stdin(&mut Command::new("cat"), b"text").expect("cat works"), "text");
    }

    #[test]
    fn own_children_are_found() {
        let mut child = Command::new("sleep").arg("60").spawn().expect("sleep exists");
        assert!(children(std::process::id()).contains(&child.id()));
        child.kill().expect("it runs");
        child.wait().expect("it ended");
    }
}

//! Starts `npm`, `pip` and `apt-get` to bring one pinned archive into a folder.
//!
//! What it is not: no HTTP, no registry protocol; the clients know the user's proxies, mirrors and credentials. They
//! are started so that nothing of a package is executed: `npm pack` of a published package runs no scripts, `pip` is
//! held to wheels, and `apt-get download` only downloads.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::error::DataError;
use crate::packages::{Client, Package};
use crate::progress::Progress;

/// A wheel is asked for as this Python would, unless its package names another; that of the one that is installed plays
/// no part.
const PYTHON_VERSION: &str = "3.12";

/// Where package clients are looked for.
pub(crate) struct Clients<'a> {
    /// A folder to look in instead of `PATH`.
    pub(crate) folder: Option<&'a Path>,
}

impl Clients<'_> {
    /// The program of this name, if it is there.
    pub(crate) fn find(&self, program: &str) -> Option<PathBuf> {
        let folders: Vec<PathBuf> = match self.folder {
            Some(folder) => vec![folder.to_path_buf()],
            None => env::var_os("PATH")
                .map(|p| env::split_paths(&p).collect())
                .unwrap_or_default(),
        };
        let endings: &[&str] = if cfg!(windows) {
            &[".exe", ".cmd", ".bat"]
        } else {
            &[""]
        };
        folders
            .iter()
            .flat_map(|folder| {
                endings
                    .iter()
                    .map(move |end| folder.join(format!("{program}{end}")))
            })
            .find(|path| path.is_file())
    }

    fn searched(&self) -> String {
        self.folder
            .map_or_else(|| "PATH".into(), |folder| folder.display().to_string())
    }

    pub(crate) fn missing(&self, client: &str, package: &Package, install: &str) -> DataError {
        DataError::MissingClient {
            client: client.into(),
            package: format!("{} {}", package.name, package.version),
            searched: self.searched(),
            install: install.into(),
        }
    }
}

/// Brings the archive of a package into `folder` and returns its path; its content is not yet checked.
///
/// # Errors
/// [`DataError::MissingClient`], [`DataError::ClientFailed`], [`DataError::DiskFull`], [`DataError::NoArchive`].
pub(crate) fn download(
    clients: &Clients<'_>,
    package: &Package,
    folder: &Path,
    progress: &Progress,
) -> Result<PathBuf, DataError> {
    match package.client {
        Client::Npm => {
            let install = "apt-get install npm (or from nodejs.org)";
            let npm = clients
                .find("npm")
                .ok_or_else(|| clients.missing("npm", package, install))?;
            let spec = format!("{}@{}", package.name, package.version);
            let arguments = [
                "pack",
                &spec,
                "--loglevel=error",
                // The defaults let a machine without a network wait for minutes.
                "--fetch-retries=1",
                "--fetch-retry-mintimeout=2000",
            ]
            .map(OsString::from);
            run(&npm, &arguments, folder, progress)
                .map_err(|f| f.into_error("check the network, then try again"))?;
            one_archive(folder, ".tgz", "npm pack")
        }
        Client::Pip => pip_download(clients, package, folder, progress),
        Client::Apt => {
            let install = "it comes with Debian and Ubuntu; elsewhere unpack the .deb by hand and name that folder";
            let apt = clients
                .find("apt-get")
                .ok_or_else(|| clients.missing("apt-get", package, install))?;
            let spec = format!("{}={}", package.name, package.version);
            let arguments = ["download", "-q", &spec].map(OsString::from);
            let advice = format!(
                "check the network and run apt-get update, then try again; `apt-cache policy {}` shows the versions that \
                 this system offers, and {} is the pinned one; of another version, stamps:/usr/share/tuxpaint/stamps \
                 can be used once it is installed",
                package.name, package.version
            );
            run(&apt, &arguments, folder, progress).map_err(|f| f.into_error(&advice))?;
            one_archive(folder, ".deb", "apt-get download")
        }
    }
}

/// `pip` has many names; the first one that is there and is really pip is used.
fn pip_download(
    clients: &Clients<'_>,
    package: &Package,
    folder: &Path,
    progress: &Progress,
) -> Result<PathBuf, DataError> {
    let python = match package.python {
        "" => PYTHON_VERSION,
        python => python,
    };
    let mut arguments: Vec<OsString> = ["download", "--no-deps", "--only-binary=:all:", "--quiet"]
        .into_iter()
        .chain([
            "--disable-pip-version-check",
            "--no-input",
            "--python-version",
            python,
        ])
        .map(OsString::from)
        .collect();
    if !package.platform.is_empty() {
        arguments.extend(["--platform".into(), OsString::from(package.platform)]);
    }
    arguments.push(format!("{}=={}", package.name, package.version).into());

    let ways: [(&str, &[&str]); 4] = [
        ("python3", &["-m", "pip"]),
        ("pip3", &[]),
        ("pip", &[]),
        ("python", &["-m", "pip"]),
    ];
    for (program, first) in ways {
        let Some(path) = clients.find(program) else {
            continue;
        };
        let line: Vec<OsString> = first
            .iter()
            .map(OsString::from)
            .chain(arguments.clone())
            .collect();
        match run(&path, &line, folder, progress) {
            Ok(()) => return one_archive(folder, ".whl", "pip download"),
            // A Python without pip is the normal state of a fresh Debian; another name may still be pip.
            Err(failure) if failure.tail.contains("No module named pip") => {}
            Err(failure) => return Err(failure.into_error("check the network, then try again")),
        }
    }
    Err(clients.missing("pip", package, "apt-get install python3-pip"))
}

/// A client that could not do its work.
struct Failure {
    command: String,
    status: String,
    tail: String,
    folder: PathBuf,
}

impl Failure {
    fn into_error(self, advice: &str) -> DataError {
        let full = [
            "No space left",
            "ENOSPC",
            "not enough space",
            "enough free space",
        ];
        let says_full = full.iter().any(|sign| self.tail.contains(sign));
        if says_full || is_full(&self.folder) {
            return DataError::DiskFull {
                path: self.folder,
                needed_bytes: 0,
            };
        }
        DataError::ClientFailed {
            command: self.command,
            status: self.status,
            tail: self.tail,
            advice: advice.into(),
        }
    }
}

/// Runs a client in `folder`; shows how much it has written there.
fn run(
    program: &Path,
    arguments: &[OsString],
    folder: &Path,
    progress: &Progress,
) -> Result<(), Failure> {
    let shown: Vec<_> = arguments.iter().map(|a| a.to_string_lossy()).collect();
    let command = format!("{} {}", program.display(), shown.join(" "));
    let failure = |status: String, tail: String| Failure {
        command: command.clone(),
        status,
        tail,
        folder: folder.to_path_buf(),
    };
    let could_not = |e: io::Error| failure("could not be started".into(), e.to_string());
    let mut child = Command::new(program);
    child
        .args(arguments)
        .current_dir(folder)
        // Half-done downloads stay inside the folder that is removed with everything in it.
        .env("TMPDIR", folder)
        .stdin(Stdio::null());
    // One pipe for both streams keeps their order. It is not a file in `folder`, because on a full disk the one line
    // that tells so would be lost.
    let (output, input) = io::pipe().map_err(could_not)?;
    child
        .stdout(input.try_clone().map_err(could_not)?)
        .stderr(input);
    let mut running = child.spawn().map_err(could_not)?;
    // The builder holds the writing ends; while it lives the reader below would wait for ever.
    drop(child);
    let log = thread::spawn(move || last_bytes(output));
    let status = loop {
        match running.try_wait().map_err(could_not)? {
            Some(status) => break status,
            None => {
                progress.set(bytes_in(folder));
                thread::sleep(Duration::from_millis(20));
            }
        }
    };
    let log = log.join().unwrap_or_default();
    if status.success() {
        Ok(())
    } else {
        Err(failure(status.to_string(), last_lines(&log)))
    }
}

/// Reads a stream to its end and keeps the last few kilobytes.
fn last_bytes(mut stream: impl Read) -> Vec<u8> {
    const KEPT_BYTES: usize = 8192;
    let mut kept = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return kept,
            Ok(len) => kept.extend_from_slice(&buffer[..len]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return kept,
        }
        kept.drain(..kept.len().saturating_sub(KEPT_BYTES));
    }
}

/// Whether a small file can no longer be written here; clients do not always say why they failed.
fn is_full(folder: &Path) -> bool {
    let probe = folder.join("probe");
    let written = fs::write(&probe, [1; 1 << 16]);
    let _ = fs::remove_file(&probe);
    written.is_err_and(|e| {
        matches!(
            DataError::io("write", folder, e),
            DataError::DiskFull { .. }
        )
    })
}

/// The last lines of a log, joined; the first ones are rarely the reason.
fn last_lines(log: &[u8]) -> String {
    let text = String::from_utf8_lossy(log);
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    match lines.len() {
        0 => "it wrote nothing".into(),
        len => lines[len.saturating_sub(4)..].join(" | "),
    }
}

/// The length of all files in a folder and one level below, where clients keep what is half done.
fn bytes_in(folder: &Path) -> u64 {
    let lengths = |path: &Path| -> Vec<(PathBuf, fs::Metadata)> {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        entries
            .filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)))
            .collect()
    };
    let mut total = 0;
    for (path, metadata) in lengths(folder) {
        total += if metadata.is_dir() {
            lengths(&path)
                .iter()
                .filter(|(_, m)| m.is_file())
                .map(|(_, m)| m.len())
                .sum()
        } else {
            metadata.len()
        };
    }
    total
}

fn one_archive(folder: &Path, suffix: &str, command: &str) -> Result<PathBuf, DataError> {
    let entries = fs::read_dir(folder).map_err(|e| DataError::io("read", folder, e))?;
    let mut archives: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_file() && path.to_string_lossy().ends_with(suffix))
        .collect();
    match (archives.pop(), archives.len()) {
        (Some(archive), 0) => Ok(archive),
        (found, more) => Err(DataError::NoArchive {
            command: command.into(),
            found: more + usize::from(found.is_some()),
            suffix: suffix.into(),
        }),
    }
}

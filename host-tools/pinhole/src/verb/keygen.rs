//! `pinhole keygen`: a key that signs models and class banks.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use pinhole_signing::{KEY_BYTES, public_key};

use crate::failure::{Failure, Outcome};
use crate::files;
use crate::output::{json, say};

/// Make a key that signs models and class banks.
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  pinhole keygen --out board.key

Writes board.key, the private key that its owner alone can read, and
board.key.pub, the public key that a device gets. Both are hexadecimal. A key
that exists is never overwritten.")]
pub(crate) struct Args {
    /// Where the private key goes; the public one beside it, with .pub behind the name.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Print a JSON object.
    #[arg(long)]
    json: bool,
}

/// What was made.
#[derive(serde::Serialize)]
struct Made<'a> {
    key: &'a Path,
    public: &'a Path,
    public_key: &'a str,
    key_id: &'a str,
}

/// Runs the verb.
pub(crate) fn run(args: Args) -> Outcome {
    let mut public_path = args.out.clone().into_os_string();
    public_path.push(".pub");
    let public_path = PathBuf::from(public_path);
    files::check_target(&public_path)?;
    let mut seed = [0; KEY_BYTES];
    getrandom::fill(&mut seed).map_err(|error| {
        Failure::new(format_args!("this system gives no random numbers: {error}"))
    })?;
    let key = public_key(&seed);
    let (public, id) = (files::hex(key.as_bytes()), files::hex(&key.id()));
    write_private(&args.out, &files::hex(&seed))?;
    if let Err(failure) = files::write(&public_path, format!("{public}\n").as_bytes()) {
        remove(&args.out);
        return Err(failure);
    }
    if args.json {
        return json(&Made {
            key: &args.out,
            public: &public_path,
            public_key: &public,
            key_id: &id,
        });
    }
    say!("{}: the private key; keep it", args.out.display());
    say!("{}: the public key {public}", public_path.display());
    Ok(())
}

/// Writes a file that was not there, for its owner alone, whole or not at all.
fn write_private(path: &Path, text: &str) -> Outcome {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => Failure::new(format_args!(
            "{}: found a file, expected a new name",
            path.display()
        ))
        .help("a key is never overwritten: name another file, or move this one away"),
        _ => files::cannot_write(path, &error),
    })?;
    let written = writeln!(file, "{text}").and_then(|()| file.sync_all());
    written.map_err(|error| {
        remove(path);
        files::cannot_write(path, &error)
    })
}

/// Takes back a key of which a part could not be written.
fn remove(path: &Path) {
    // What cannot be removed is named by the error that led here.
    let _ = std::fs::remove_file(path);
}

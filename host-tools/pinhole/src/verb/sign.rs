//! `pinhole sign`: a model or class bank, and a signature behind it.

use std::path::{Path, PathBuf};

use pinhole_signing::{SignFault, public_key, sign};

use crate::failure::{Failure, Outcome};
use crate::files;
use crate::keys::private_key;
use crate::output::{json, say};

/// Sign a model or a class bank for devices with a key.
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  pinhole sign image.phm --key board.key --counter 3 --out image.signed.phm

A device takes no file with a lower counter than the one that it ran: raise it
with every release.")]
pub(crate) struct Args {
    /// Model (.phm) or class bank (.phc).
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Private key, see pinhole keygen.
    #[arg(long, value_name = "KEY")]
    key: PathBuf,
    /// The place of this file in the order of releases.
    #[arg(long, value_name = "N")]
    counter: u32,
    /// Where the signed file goes.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Print a JSON object.
    #[arg(long)]
    json: bool,
}

/// What was made.
#[derive(serde::Serialize)]
struct Signed<'a> {
    file: &'a Path,
    bytes: usize,
    counter: u32,
    key_id: String,
    sha256: String,
}

/// Runs the verb.
pub(crate) fn run(args: Args) -> Outcome {
    files::check_target(&args.out)?;
    let seed = private_key(&args.key)?;
    let file = files::read_aligned(&args.file)?;
    let signed = sign(&file, &seed, args.counter).map_err(|fault| {
        let failure = Failure::new(format_args!("{}: {fault}", args.file.display()));
        match fault {
            SignFault::SpareSlotNotBlank { .. } => failure,
            _ => failure.help(format_args!("pinhole inspect {}", args.file.display())),
        }
    })?;
    files::write(&args.out, &signed)?;
    let key_id = files::hex(&public_key(&seed).id());
    if args.json {
        return json(&Signed {
            file: &args.out,
            bytes: signed.len(),
            counter: args.counter,
            key_id,
            sha256: files::sha256(&signed),
        });
    }
    say!(
        "{}: {} bytes, signed by key {key_id} with counter {}",
        args.out.display(),
        signed.len(),
        args.counter
    );
    Ok(())
}

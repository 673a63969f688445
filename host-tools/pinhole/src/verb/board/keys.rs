//! The key of a board, and its restart.

use std::path::PathBuf;

use pinhole_device::{DeviceError, ErrorCode};

use super::manage::Target;
use crate::failure::{Failure, Outcome};
use crate::files;
use crate::keys::public_key;

/// `pinhole board provision`.
#[derive(clap::Args)]
pub(super) struct Provision {
    /// The public key, see pinhole keygen.
    #[arg(long, value_name = "PUB")]
    key: PathBuf,
    #[command(flatten)]
    target: Target,
}

pub(super) fn run_provision(args: &Provision) -> Outcome {
    let key = public_key(&args.key)?;
    let old = args.target.seed()?;
    let mut board = args.target.start_locked()?;
    let id = files::hex(&key.id());
    match old {
        Some(old) => {
            board.ask(|link| link.replace_key(&old, &key))?;
            args.target.done(format_args!(
                "the board has the key {id} in the place of the old one"
            ))
        }
        None => {
            board
                .ask(|link| link.provision(&key))
                .map_err(provision_refused)?;
            args.target.done(format_args!(
                "the board has the key {id}: changes need --unlock with its private key"
            ))
        }
    }
}

/// What a board runs has to be signed already, or it would run nothing.
fn provision_refused(error: DeviceError) -> Failure {
    match &error {
        DeviceError::Refused {
            code: ErrorCode::Storage,
            ..
        } => Failure::new(&error).help(
            "sign model and class bank with the private key and put them there first: pinhole sign, then pinhole flash --key PUB",
        ),
        DeviceError::Refused {
            code: ErrorCode::Locked,
            ..
        } => Failure::new(&error)
            .help("the board has a key already; name its private key, which hands over to this one: --unlock KEY"),
        _ => error.into(),
    }
}

pub(super) fn run_reboot(target: &Target) -> Outcome {
    let mut board = target.start()?;
    board.ask(|link| link.reboot())?;
    // The first answer of the new start.
    let numbers = board.ask(|link| link.statistics())?;
    target.done(format_args!(
        "the board started again and answers: {} classes",
        numbers.classes
    ))
}

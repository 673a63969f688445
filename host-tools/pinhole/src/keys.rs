//! Files of keys, as `pinhole keygen` writes them: 64 hexadecimal digits.

use std::path::Path;

use pinhole_signing::{KEY_BYTES, PublicKey};

use crate::failure::{Failure, Outcome};
use crate::files;

/// The seed in a key file that nobody else can read.
pub(crate) fn private_key(path: &Path) -> Outcome<[u8; KEY_BYTES]> {
    let bytes = files::read(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let metadata = std::fs::metadata(path).map_err(|error| files::cannot_read(path, &error))?;
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(Failure::new(format_args!(
                "{}: found mode {mode:03o}, expected a private key that its owner alone can read",
                path.display()
            ))
            .help(format_args!("chmod 600 {}", path.display())));
        }
    }
    digits(path, &bytes, "a private key")
}

/// The key in a file that anybody may read.
pub(crate) fn public_key(path: &Path) -> Outcome<PublicKey> {
    let bytes = digits(path, &files::read(path)?, "a public key")?;
    PublicKey::parse(&bytes).map_err(|fault| {
        Failure::new(format_args!("{}: {fault}", path.display()))
            .help("pinhole keygen writes the public key beside the private one: KEY.pub")
    })
}

fn digits(path: &Path, bytes: &[u8], what: &str) -> Outcome<[u8; KEY_BYTES]> {
    let text = bytes.trim_ascii();
    let digit = |at: usize| text.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let mut key = [0; KEY_BYTES];
    let whole = text.len() == 2 * KEY_BYTES
        && key.iter_mut().enumerate().all(|(index, byte)| {
            let pair = digit(2 * index).zip(digit(2 * index + 1));
            *byte = pair.map_or(0, |(high, low)| (high << 4 | low) as u8);
            pair.is_some()
        });
    match whole {
        true => Ok(key),
        false => Err(Failure::new(format_args!(
            "{}: found {} bytes, expected {what} of {} hexadecimal digits",
            path.display(),
            text.len(),
            2 * KEY_BYTES
        ))
        .help("pinhole keygen makes one")),
    }
}

//! Lines on standard output and standard error, without a panic when the reader has gone.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::failure::{Failure, Outcome};

/// [`line()`] with a format string.
macro_rules! say {
    () => { $crate::output::line(format_args!("")) };
    ($($argument:tt)*) => { $crate::output::line(format_args!($($argument)*)) };
}

/// [`aside()`] with a format string.
macro_rules! note {
    ($($argument:tt)*) => { $crate::output::aside(format_args!($($argument)*)) };
}

pub(crate) use {note, say};

/// Whether another process speaks for this one.
static MUTED: AtomicBool = AtomicBool::new(false);

/// Prints nothing more but why this process ends: another one does the same and prints it.
pub(crate) fn mute() {
    MUTED.store(true, Ordering::Relaxed);
}

/// Whether [`mute`] was called.
pub(crate) fn is_muted() -> bool {
    MUTED.load(Ordering::Relaxed)
}

/// Prints a line. A closed pipe (`pinhole … | head`) ends the process quietly; any other fault of the output, such as a full
/// disk behind `>`, ends it with exit code 2.
pub(crate) fn line(text: Arguments<'_>) {
    if is_muted() {
        return;
    }
    // A program that reads lines gets each as soon as it is there.
    let mut stdout = std::io::stdout().lock();
    let Err(error) = writeln!(stdout, "{text}").and_then(|()| stdout.flush()) else {
        return;
    };
    if error.kind() == ErrorKind::BrokenPipe {
        std::process::exit(0);
    }
    note!("cannot write to standard output: {error}");
    std::process::exit(2);
}

/// Prints a line for people; one that nobody can read is dropped.
pub(crate) fn aside(text: Arguments<'_>) {
    if !is_muted() {
        last_words(text);
    }
}

/// Prints why a process ends, of a muted one too.
pub(crate) fn last_words(text: Arguments<'_>) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// A result for programs: one line of JSON, its keys in the order of the fields.
pub(crate) fn json<T: serde::Serialize + ?Sized>(result: &T) -> Outcome {
    say!("{}", serde_json::to_string(result).map_err(Failure::new)?);
    Ok(())
}

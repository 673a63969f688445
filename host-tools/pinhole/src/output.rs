//! Lines on standard output, without a panic when the reader has gone.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write};

/// Prints a line. A closed pipe (`pinhole … | head`) ends the process quietly; any other fault of the output ends it with
/// exit code 2.
pub(crate) fn line(text: Arguments<'_>) {
    if let Err(error) = writeln!(std::io::stdout().lock(), "{text}") {
        if error.kind() == ErrorKind::BrokenPipe {
            std::process::exit(0);
        }
        eprintln!("cannot write to standard output: {error}");
        std::process::exit(2);
    }
}

/// [`line()`] with a format string.
macro_rules! say {
    () => { $crate::output::line(format_args!("")) };
    ($($argument:tt)*) => { $crate::output::line(format_args!($($argument)*)) };
}

pub(crate) use say;

//! The one error of the command line: a message, the next thing to type, and an exit code.

use std::fmt;

/// Why a verb ended early.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    help: Option<String>,
    code: u8,
}

/// Result of a verb.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    /// It could not run: exit code 2.
    pub(crate) fn new(message: impl fmt::Display) -> Self {
        Self {
            message: message.to_string(),
            help: None,
            code: 2,
        }
    }

    /// It ran, and a check failed: exit code 1.
    pub(crate) fn check(message: impl fmt::Display) -> Self {
        Self {
            code: 1,
            ..Self::new(message)
        }
    }

    /// Adds the next thing to type.
    pub(crate) fn help(mut self, help: impl fmt::Display) -> Self {
        self.help = Some(help.to_string());
        self
    }

    /// What the process ends with.
    pub(crate) fn code(&self) -> u8 {
        self.code
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl miette::Diagnostic for Failure {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help
            .as_ref()
            .map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }
}

impl From<pinhole_data::DataError> for Failure {
    fn from(error: pinhole_data::DataError) -> Self {
        let failure = Self::new(&error);
        match error.help() {
            Some(help) => failure.help(help),
            None => failure,
        }
    }
}

/// Adds what was being worked on to an error that does not say it.
pub(crate) trait Context<T> {
    /// `context: error`.
    fn context(self, context: impl fmt::Display) -> Outcome<T>;
}

impl<T, E: fmt::Display> Context<T> for Result<T, E> {
    fn context(self, context: impl fmt::Display) -> Outcome<T> {
        self.map_err(|error| Failure::new(format_args!("{context}: {error}")))
    }
}

//! The one error of the command line: a message, the next thing to type, and an exit code.

use std::fmt;

use pinhole_graph::FileError;
use pinhole_graph::import::ImportError;
use pinhole_runtime::bank::BankError;
use pinhole_runtime::model::LoadError;
use pinhole_text::classes::ClassListError;

use crate::files;

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

/// A model that [`pinhole_runtime::model::Model::load`] refused.
pub(crate) fn refused_model(name: impl fmt::Display, error: &LoadError) -> Failure {
    match *error {
        LoadError::Truncated { needed, given } => Failure::new(format_args!(
            "{name}: found {given} bytes, expected the {needed} of the whole model"
        ))
        .help("the file is cut: copy it again, or pack it again with pinhole pack GRAPH.phg --out FILE"),
        LoadError::NewerVersion { found, supported } => Failure::new(format_args!(
            "{name}: found model format version {found}, expected version {supported}"
        ))
        .help("update pinhole, or pack the graph again with this one: pinhole pack GRAPH.phg --out FILE"),
        LoadError::BadChecksum { stored, computed } => Failure::new(format_args!(
            "{name}: found bytes with checksum {computed:08x}, expected {stored:08x}"
        ))
        .help("the file is damaged: copy it again, or pack it again with pinhole pack GRAPH.phg --out FILE"),
        _ => Failure::new(format_args!("{name}: found a damaged model, expected a sound one: {error}"))
            .help("copy it again, or pack it again with pinhole pack GRAPH.phg --out FILE"),
    }
}

/// A bank that [`pinhole_runtime::bank::ClassBank::load`] refused.
pub(crate) fn refused_bank(name: impl fmt::Display, error: &BankError) -> Failure {
    const AGAIN: &str = "pinhole embed --text-encoder text.phm --classes LIST --out FILE";
    match *error {
        BankError::Truncated { needed, found } => Failure::new(format_args!(
            "{name}: found {found} bytes, expected the {needed} of the whole class bank"
        ))
        .help(format_args!(
            "the file is cut: copy it again, or make it again: {AGAIN}"
        )),
        BankError::UnsupportedVersion { found, supported } => Failure::new(format_args!(
            "{name}: found class bank version {found}, expected version {supported}"
        ))
        .help(format_args!(
            "update pinhole, or make the bank again with this one: {AGAIN}"
        )),
        BankError::BadChecksum { expected, found } => Failure::new(format_args!(
            "{name}: found bytes with checksum {found:08x}, expected {expected:08x}"
        ))
        .help(format_args!(
            "the file is damaged: copy it again, or make it again: {AGAIN}"
        )),
        _ => Failure::new(format_args!(
            "{name}: found a damaged class bank, expected a sound one: {error}"
        ))
        .help(format_args!("copy it again, or make it again: {AGAIN}")),
    }
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        match &error {
            FileError::Io { path, source } => files::cannot_read(path, source),
            FileError::Newer { path, found } => Self::new(format_args!(
                "{}: found graph format version {found}, expected at most {}",
                path.display(),
                pinhole_graph::FORMAT_VERSION
            ))
            .help("update pinhole, or import again with this one: pinhole import CHECKPOINT --out FILE"),
            _ => Self::new(&error)
                .help("copy it again, or import it again: pinhole import CHECKPOINT --out FILE"),
        }
    }
}

impl From<ImportError> for Failure {
    fn from(error: ImportError) -> Self {
        match &error {
            ImportError::Io { path, source } => files::cannot_read(path, source),
            ImportError::Malformed { .. } => {
                Self::new(&error).help("copy it again; pinhole import --help says what is read")
            }
            ImportError::Unsupported(_) => {
                Self::new(&error).help("export the network again without these, as advised above")
            }
            _ => Self::new(&error).help("pinhole import --help says what is read"),
        }
    }
}

impl From<ClassListError> for Failure {
    fn from(error: ClassListError) -> Self {
        Self::new(&error)
            .help("--classes \"cat,dog,teapot\", or --classes FILE with one name a line")
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

impl From<pinhole_ranks::RanksError> for Failure {
    fn from(error: pinhole_ranks::RanksError) -> Self {
        Self::new(error)
            .help("every process needs the same options and files: mpirun -n N pinhole VERB …")
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

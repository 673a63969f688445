//! Files in and out: read whole with a clear error, written beside and renamed, so that nothing is ever half there.

use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use pinhole_runtime::interpreter::AlignedBytes;
use sha2::{Digest, Sha256};

use crate::failure::{Failure, Outcome};
use crate::interrupt::Unfinished;

/// What weights are called in a folder or a repository, the most wanted first.
pub(crate) const WEIGHTS: [&str; 4] = [
    "model.safetensors",
    "open_clip_model.safetensors",
    "pytorch_model.bin",
    "open_clip_pytorch_model.bin",
];

/// Larger model and bank files are refused before they are read.
const LARGEST_BYTES: u64 = 2 << 30;

/// What a file is, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    /// `.phm`
    Model,
    /// `.phc`
    Bank,
    /// `.phg`, or another safetensors file when it does not name itself a graph.
    Graph,
    /// Tensors that are no graph.
    Safetensors,
    /// A zip archive, as PyTorch checkpoints are, or a bare pickle.
    Checkpoint,
    /// A picture of a format that is read.
    Picture,
    /// No byte at all.
    Empty,
    /// What a server says instead of a file.
    WebPage,
    /// What Git keeps of a large file.
    LfsPointer,
    /// Anything else.
    Unknown,
}

impl FileKind {
    /// Looks at the beginning of a file.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        // A safetensors header: its length in eight bytes, then JSON.
        let header = bytes.get(8..).unwrap_or_default();
        match bytes {
            [] => Self::Empty,
            [b'P', b'H', b'M', b'0'..=b'9', ..] => Self::Model,
            [b'P', b'H', b'C', b'0'..=b'9', ..] => Self::Bank,
            [b'P', b'K', 3, 4, ..] | [0x80, 2..=5, ..] => Self::Checkpoint,
            _ if bytes.starts_with(b"version https://git-lfs.github.com/") => Self::LfsPointer,
            _ if is_web_page(bytes) => Self::WebPage,
            _ if image::guess_format(bytes).is_ok() => Self::Picture,
            _ if header.starts_with(b"{") => {
                let start = &header[..header.len().min(256)];
                match start.windows(13).any(|word| word == b"pinhole_graph") {
                    true => Self::Graph,
                    false => Self::Safetensors,
                }
            }
            _ => Self::Unknown,
        }
    }

    /// The next thing to type for a person to whom this says little.
    pub(crate) fn help(self) -> &'static str {
        match self {
            Self::Empty => "download or copy it again",
            Self::WebPage => {
                "download the file itself: curl -L -o FILE URL, where the Hub's URLs have /resolve/ in them and not /blob/"
            }
            Self::LfsPointer => {
                "fetch what it stands for: git lfs pull, in the folder that was cloned"
            }
            _ => "pinhole inspect FILE says what a file is",
        }
    }

    /// The next thing to type for a person who gave this where a model was wanted.
    fn help_instead_of_model(self) -> &'static str {
        match self {
            Self::Graph => "pack it first: pinhole pack GRAPH.phg --out model.phm",
            Self::Safetensors | Self::Checkpoint => {
                "convert it first: pinhole convert CHECKPOINT --calibrate photos/ --out model.phm"
            }
            Self::Bank => "class banks go to --bank",
            other => other.help(),
        }
    }
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Model => "a packed model (.phm)",
            Self::Bank => "a class bank (.phc)",
            Self::Graph => "a graph (.phg)",
            Self::Safetensors => "a safetensors file that is no graph",
            Self::Checkpoint => "a PyTorch checkpoint or another archive",
            Self::Picture => "a picture",
            Self::Empty => "an empty file",
            Self::WebPage => "a web page",
            Self::LfsPointer => "a pointer of Git LFS instead of the file",
            Self::Unknown => "a file of an unknown kind",
        })
    }
}

/// Whether a file begins as a packed model does.
pub(crate) fn starts_as_model(path: &Path) -> Outcome<bool> {
    use std::io::Read;
    let mut start = [0; 4];
    let mut file = std::fs::File::open(path).map_err(|error| cannot_read(path, &error))?;
    match file.read_exact(&mut start) {
        Ok(()) => Ok(FileKind::of(&start) == FileKind::Model),
        // Shorter than any model.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(cannot_read(path, &error)),
    }
}

/// Refuses bytes that begin like something else.
pub(crate) fn expect(path: &Path, bytes: &[u8], expected: FileKind) -> Outcome {
    let found = FileKind::of(bytes);
    // Where the metadata is not at the beginning, the reader of graphs finds out.
    let may_be = expected == FileKind::Graph && found == FileKind::Safetensors;
    if found == expected || may_be {
        return Ok(());
    }
    let failure = Failure::new(format_args!(
        "{}: found {found}, expected {expected}",
        path.display()
    ));
    Err(match (expected, found) {
        (FileKind::Model, _) => failure.help(found.help_instead_of_model()),
        (FileKind::Bank, FileKind::Model) => failure.help(
            "models go to --model; pinhole embed --text-encoder text.phm --classes LIST --out bank.phc makes a bank",
        ),
        (FileKind::Bank, _) => failure.help(
            "make a bank: pinhole embed --text-encoder text.phm --classes LIST --out bank.phc",
        ),
        (FileKind::Graph, FileKind::Checkpoint) => {
            failure.help("import it first: pinhole import CHECKPOINT --out graph.phg")
        }
        (_, found) => failure.help(found.help()),
    })
}

/// Whether bytes are HTML, or XML as stores of files write their errors in.
fn is_web_page(bytes: &[u8]) -> bool {
    let text = bytes.trim_ascii_start();
    let begins = |word: &str| {
        let start = text.get(..word.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(word.as_bytes()))
    };
    begins("<!doctype html") || begins("<html") || begins("<?xml")
}

/// A whole file.
pub(crate) fn read(path: &Path) -> Outcome<Vec<u8>> {
    let metadata = fs::metadata(path).map_err(|error| cannot_read(path, &error))?;
    if metadata.is_dir() {
        return Err(Failure::new(format_args!(
            "{}: found a folder, expected a file",
            path.display()
        ))
        .help(format_args!("ls {}", path.display())));
    }
    if metadata.len() > LARGEST_BYTES {
        return Err(too_large(path, metadata.len()));
    }
    // A device has no length, and may have no end.
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
    let read = fs::File::open(path)
        .and_then(|file| file.take(LARGEST_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| cannot_read(path, &error))?;
    if read as u64 > LARGEST_BYTES {
        return Err(too_large(path, format_args!("more than {LARGEST_BYTES}")));
    }
    Ok(bytes)
}

fn too_large(path: &Path, found: impl fmt::Display) -> Failure {
    Failure::new(format_args!(
        "{}: found {found} bytes, expected at most {LARGEST_BYTES}",
        path.display()
    ))
    .help(format_args!("check the name: ls -l {}", path.display()))
}

/// Why a file could not be read.
pub(crate) fn cannot_read(path: &Path, error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::NotFound {
        return Failure::new(format_args!(
            "{}: found no such file, expected one to read",
            path.display()
        ))
        .help(format_args!(
            "check the name: ls {}",
            folder_of(path).display()
        ));
    }
    Failure::new(format_args!(
        "{}: found {error}, expected a file to read",
        path.display()
    ))
    .help(format_args!(
        "ls -l {} shows who may read it, and where links lead",
        path.display()
    ))
}

/// A whole file at a boundary that models and banks can be read in place from.
pub(crate) fn read_aligned(path: &Path) -> Outcome<AlignedBytes> {
    Ok(AlignedBytes::from_slice(&read(path)?))
}

fn folder_of(path: &Path) -> &Path {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// Refuses to write where no file can be; asked before the work that makes the file.
pub(crate) fn check_target(path: &Path) -> Outcome {
    // A rename would replace a device or a pipe by a file.
    if path.exists() && !path.is_file() {
        let found = if path.is_dir() {
            "a folder"
        } else {
            "a device or a pipe"
        };
        return Err(Failure::new(format_args!(
            "{}: found {found}, expected a file or a new name",
            path.display()
        ))
        .help("give the name of a file to write"));
    }
    let folder = folder_of(path);
    if !folder.is_dir() {
        let found = if folder.exists() {
            "a file"
        } else {
            "no such folder"
        };
        return Err(Failure::new(format_args!(
            "{}: found {found} at {}, expected a folder to write in",
            path.display(),
            folder.display()
        ))
        .help(format_args!("mkdir -p {}", folder.display())));
    }
    Ok(())
}

/// Makes a file with `make`, which is given another path, and renames it: whole or not at all, after Ctrl-C too.
pub(crate) fn produce<T>(path: &Path, make: impl FnOnce(&Path) -> Outcome<T>) -> Outcome<T> {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    check_target(path)?;
    let name = format!(
        ".pinhole-{}-{}.tmp",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    );
    let failed = |error: io::Error| cannot_write(path, &error);
    let unfinished = Unfinished::folder(folder_of(path).join(name)).map_err(failed)?;
    let inside: PathBuf = unfinished
        .path()
        .join(path.file_name().unwrap_or("file".as_ref()));
    let made = make(&inside)?;
    unfinished.release(&inside, path).map_err(failed)?;
    Ok(made)
}

/// Writes a whole file or none.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Outcome {
    produce(path, |unfinished| {
        let written = fs::File::create(unfinished)
            .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
        written.map_err(|error| cannot_write(path, &error))
    })
}

/// Why a file could not be written.
pub(crate) fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    let failure = Failure::new(format_args!("{}: cannot write it: {error}", path.display()));
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            failure.help(format_args!(
                "make room, or name another folder; df {} shows the room left",
                folder_of(path).display()
            ))
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            failure.help("name a folder that you may write in")
        }
        _ => failure,
    }
}

/// The last part of a path.
pub(crate) fn name(path: &Path) -> std::borrow::Cow<'_, str> {
    path.file_name().unwrap_or_default().to_string_lossy()
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SHA-256 in lower-case hex.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

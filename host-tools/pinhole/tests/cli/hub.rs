//! `hf:ORG/NAME` against a hub of one small repository on this machine.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use sha2::{Digest, Sha256};

use crate::{Ran, Sandbox, bytes, command};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const WEIGHTS: &str = "open_clip_model.safetensors";

/// What the hub has, what it was asked for, and how it misbehaves.
#[derive(Default)]
struct State {
    /// Its own address.
    endpoint: String,
    files: HashMap<String, Vec<u8>>,
    /// `path` and its `Range`.
    asked: Vec<(String, String)>,
    /// Downloads of weights that break off after half of what is left.
    breaks: usize,
    /// Whether the last byte of the weights is another one.
    damaged: bool,
}

/// A server that lives as long as the test.
struct Hub {
    endpoint: String,
    state: Arc<Mutex<State>>,
}

impl Hub {
    /// With the small CLIP of the tests.
    fn new() -> Self {
        let config = r#"{"model_cfg": {"quick_gelu": true, "vision_cfg": {"head_width": 32}, "text_cfg": {"heads": 4}}}"#;
        let files = [
            (WEIGHTS, crate::clip::weights()),
            ("open_clip_config.json", config.as_bytes().to_vec()),
            ("README.md", b"# small".to_vec()),
        ];
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let state = State {
            endpoint: endpoint.clone(),
            files: files.map(|(name, bytes)| (name.to_owned(), bytes)).into(),
            ..State::default()
        };
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                // A client that goes away ends its own connection alone.
                thread::spawn(move || answer(stream, &shared).ok());
            }
        });
        Self { endpoint, state }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no thread has panicked")
    }

    /// Where downloads of the weights began.
    fn ranges(&self) -> Vec<String> {
        let asked = std::mem::take(&mut self.state().asked);
        let weights = asked
            .into_iter()
            .filter(|(path, range)| path.starts_with("/store/") && range != "bytes=0-0");
        weights.map(|(_, range)| range).collect()
    }
}

/// Answers requests of one connection as the Hub does.
fn answer(mut stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    while let Some(Ok(request)) = lines.next() {
        let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
        let mut range = String::new();
        for line in lines
            .by_ref()
            .map_while(Result::ok)
            .take_while(|line| !line.is_empty())
        {
            let (name, value) = line.split_once(':').unwrap_or_default();
            if name.eq_ignore_ascii_case("range") {
                value.trim().clone_into(&mut range);
            }
        }
        let mut state = state.lock().expect("no thread has panicked");
        state.asked.push((path.clone(), range.clone()));
        if !reply(&mut stream, &mut state, &path, &range)? {
            return Ok(());
        }
    }
    Ok(())
}

/// Writes one reply; false where the connection is to break off.
fn reply(
    stream: &mut TcpStream,
    state: &mut State,
    path: &str,
    range: &str,
) -> std::io::Result<bool> {
    if path.starts_with("/api/models/small/clip/revision/") && !path.ends_with("/gone") {
        let names: Vec<String> = state
            .files
            .keys()
            .map(|name| format!(r#"{{"rfilename":"{name}"}}"#))
            .collect();
        let body = format!(r#"{{"sha":"{COMMIT}","siblings":[{}]}}"#, names.join(","));
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}"
        )?;
        return Ok(true);
    }
    let prefix = format!("/small/clip/resolve/{COMMIT}/");
    let store = path.strip_prefix("/store/");
    let name = store.or(path.strip_prefix(&prefix)).unwrap_or_default();
    let Some(whole) = state.files.get(name) else {
        write!(
            stream,
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
        )?;
        return Ok(true);
    };
    let is_weights = name == WEIGHTS;
    let digest: String = Sha256::digest(whole)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    // Large files lie in a store of their own, which knows neither commits nor the Hub's tags.
    if is_weights && store.is_none() {
        let (endpoint, length) = (&state.endpoint, whole.len());
        write!(
            stream,
            "HTTP/1.1 302 Found\r\nLocation: {endpoint}/store/{name}\r\nX-Repo-Commit: {COMMIT}\r\n\
             X-Linked-ETag: \"{digest}\"\r\nX-Linked-Size: {length}\r\nContent-Length: 0\r\n\r\n"
        )?;
        return Ok(true);
    }
    let etag = format!("tag-{name}");
    let (start, end) = range
        .trim_start_matches("bytes=")
        .split_once('-')
        .expect("a range");
    let start: usize = start.parse().expect("a number");
    let end = end.parse().map_or(whole.len(), |end: usize| end + 1);
    let mut part = whole[start..end].to_vec();
    if is_weights && state.damaged {
        *part.last_mut().expect("bytes") ^= 1;
    }
    write!(
        stream,
        "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\nContent-Range: bytes {start}-{}/{}\r\nETag: \"{etag}\"\r\nX-Repo-Commit: {COMMIT}\r\n\r\n",
        part.len(),
        end - 1,
        whole.len()
    )?;
    let breaks = is_weights && range != "bytes=0-0" && state.breaks > 0;
    if breaks {
        state.breaks -= 1;
        part.truncate(part.len() / 2);
    }
    stream.write_all(&part)?;
    stream.flush()?;
    Ok(!breaks)
}

/// `pinhole import` with a hub and a cache of its own.
fn import(sandbox: &Sandbox, endpoint: &str, source: &str) -> Ran {
    let out = sandbox.path("out.phg");
    command()
        .args(["import", source, "--json", "--out", &out])
        .env("HF_ENDPOINT", endpoint)
        .env("HF_HOME", sandbox.path("hub"))
        .env_remove("HF_TOKEN")
        .env_remove("http_proxy")
        .env_remove("HTTP_PROXY")
        .env_remove("all_proxy")
        .env_remove("ALL_PROXY")
        .output()
        .expect("pinhole starts")
        .into()
}

#[test]
fn a_repository_is_imported_as_its_folder_is() {
    let (hub, sandbox) = (Hub::new(), Sandbox::new());
    let imported = import(&sandbox, &hub.endpoint, "hf:small/clip").done();
    let origin = format!(r#""repository":"small/clip@{COMMIT}""#);
    assert!(imported.contains(&origin), "{imported}");
    assert!(
        imported.contains(&format!(r#""file":"{WEIGHTS}""#)),
        "{imported}"
    );
    let asked: Vec<String> = hub
        .state()
        .asked
        .iter()
        .map(|(path, _)| path.clone())
        .collect();
    assert!(
        !asked.iter().any(|path| path.ends_with("README.md")),
        "{asked:?}"
    );

    let folder = Sandbox::new();
    let by_hand = folder.path("by-hand.phg");
    let source = crate::clip::checkpoint(&folder);
    crate::run(["import", &source, "--out", &by_hand]).done();
    let differences = crate::run(["diff", &by_hand, &sandbox.path("out.phg")]);
    assert_eq!(
        differences.stdout,
        format!("metadata: source repository in B alone: small/clip@{COMMIT}\n")
    );
}

#[test]
fn what_was_fetched_is_not_fetched_again_and_serves_without_a_network() {
    let (hub, sandbox) = (Hub::new(), Sandbox::new());
    import(&sandbox, &hub.endpoint, "hf:small/clip@v1").done();
    assert_eq!(hub.ranges(), ["bytes=0-"]);
    import(&sandbox, &hub.endpoint, "hf:small/clip@v1").done();
    assert_eq!(hub.ranges(), [""; 0]);
    // Port 9 of this machine discards; nothing listens there.
    let offline = import(&sandbox, "http://127.0.0.1:9", "hf:small/clip@v1");
    assert!(
        offline.stderr.contains("taken from the cache"),
        "{offline:?}"
    );
    offline.done();
    import(&sandbox, "http://127.0.0.1:9", "hf:small/clip@v2").refused(&[
        "hf:small/clip@v2: cannot reach http://127.0.0.1:9",
        "check the network",
    ]);
}

#[test]
fn an_interrupted_download_goes_on_where_it_stopped() {
    let (hub, sandbox) = (Hub::new(), Sandbox::new());
    let length = hub.state().files[WEIGHTS].len();
    let rest = |begun: usize| begun + (length - begun) / 2;
    let (half, more) = (rest(0), rest(rest(0)));

    hub.state().breaks = 1;
    import(&sandbox, &hub.endpoint, "hf:small/clip").done();
    assert_eq!(
        hub.ranges(),
        ["bytes=0-".to_owned(), format!("bytes={half}-")]
    );

    // A line that breaks too often: the next run goes on.
    let sandbox = Sandbox::new();
    hub.state().breaks = 3;
    import(&sandbox, &hub.endpoint, "hf:small/clip")
        .refused(&["cannot reach", "goes on where it stopped"]);
    let begun = [0, half, more].map(|start| format!("bytes={start}-"));
    assert_eq!(hub.ranges(), begun);
    import(&sandbox, &hub.endpoint, "hf:small/clip").done();
    assert_eq!(hub.ranges(), [format!("bytes={}-", rest(more))]);
}

#[test]
fn damaged_weights_are_refused_and_thrown_away() {
    let (hub, sandbox) = (Hub::new(), Sandbox::new());
    hub.state().damaged = true;
    import(&sandbox, &hub.endpoint, "hf:small/clip").refused(&[
        "hf:small/clip: found",
        WEIGHTS,
        "with SHA-256",
        "expected",
    ]);
    assert!(!sandbox.names().contains(&"out.phg".to_owned()));
    hub.state().damaged = false;
    import(&sandbox, &hub.endpoint, "hf:small/clip").done();
}

#[test]
fn what_the_hub_does_not_have_is_named() {
    let (hub, sandbox) = (Hub::new(), Sandbox::new());
    import(&sandbox, &hub.endpoint, "hf:small/other").refused(&[
        "hf:small/other",
        "has no such repository or revision",
        "404",
        "HF_TOKEN=",
    ]);
    import(&sandbox, &hub.endpoint, "hf:small/clip@gone").refused(&["hf:small/clip@gone", "404"]);
    hub.state().files.remove(WEIGHTS);
    import(&sandbox, &hub.endpoint, "hf:small/clip").refused(&[
        "expected one of model.safetensors",
        "open_clip_config.json",
        "by hand",
    ]);
    hub.state().files.insert(
        "model.safetensors.index.json".into(),
        bytes("models/lite0/README.md"),
    );
    import(&sandbox, &hub.endpoint, "hf:small/clip").refused(&["weights in several files"]);
    import(&sandbox, &hub.endpoint, "hf:a/b/c").refused(&["expected hf:ORG/NAME"]);
}

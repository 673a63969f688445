//! Who may write: a device with a key takes changes from whoever answers a challenge with it (`docs/signing.md`).
//!
//! The answer opens the line, not one request: files are signed themselves, and a signature for each of their chunks would take longer
//! than the line. So it keeps out whoever can reach the line and has no key, and not whoever can write into a line that is open.

use crate::log::warn_display;
use crate::port::Port;
use crate::storage::{MappedFlash, Storage, StorageError};
use core::fmt;
use embedded_io::Write;
use pinhole_protocol::{Challenge, ErrorCode, NONCE_BYTES, Reply, Request};
use pinhole_signing::{SIGNATURE_BYTES, SignatureFault};

/// Where nonces come from: a hardware generator of random numbers as a rule.
pub trait NonceSource {
    /// Bytes that nobody can foresee and that never come again; `None` when there are none, and then nobody is let in.
    fn nonce(&mut self) -> Option<[u8; NONCE_BYTES]>;
}

/// Whether the line is open, and the challenge that is not answered yet.
#[derive(Default)]
pub(super) struct Gate<'a> {
    source: Option<&'a mut dyn NonceSource>,
    session: u32,
    /// Good for one answer.
    challenge: Option<[u8; NONCE_BYTES]>,
    /// The last one, to notice a source that stands still.
    last: Option<[u8; NONCE_BYTES]>,
    open: bool,
}

/// Why nobody was let in, or no key taken.
pub(super) enum Fault<E> {
    /// The key was not shown.
    Locked,
    /// There is no key to show.
    NoKey,
    /// There is no source of nonces, or it gives none, or the same twice.
    NoNonce,
    /// No challenge was asked for, or it was answered already.
    NoChallenge,
    Signature(SignatureFault),
    Storage(StorageError<E>),
}

impl<E: fmt::Debug> fmt::Display for Fault<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked => f.write_str("this board has a key: answer a challenge with it first"),
            Self::NoKey => f.write_str("this board has no key, and takes changes without one"),
            Self::NoNonce => f.write_str("this board has no source of nonces"),
            Self::NoChallenge => f.write_str("no challenge is open: ask for one"),
            Self::Signature(SignatureFault::Wrong) => {
                f.write_str("the answer to the challenge is not by the key of this board")
            }
            Self::Signature(fault) => fault.fmt(f),
            Self::Storage(error) => error.fmt(f),
        }
    }
}

impl<E> Fault<E> {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Locked => ErrorCode::Locked,
            Self::Storage(
                StorageError::Flash(_) | StorageError::WornOut { .. } | StorageError::StateWornOut,
            ) => ErrorCode::Flash,
            // A file that the key did not sign.
            Self::Storage(StorageError::Refused { .. }) => ErrorCode::Storage,
            _ => ErrorCode::Key,
        }
    }
}

impl<E> From<StorageError<E>> for Fault<E> {
    fn from(error: StorageError<E>) -> Self {
        Self::Storage(error)
    }
}

impl<'a> Gate<'a> {
    pub(super) fn new(source: &'a mut dyn NonceSource) -> Self {
        Self {
            source: Some(source),
            ..Self::default()
        }
    }

    /// Whether changes are taken now.
    pub(super) fn is_open<F: MappedFlash>(&self, storage: &Storage<F>) -> bool {
        storage.key().is_none() || self.open
    }

    /// Nobody is let in any more, and no open challenge can be answered.
    pub(super) fn close(&mut self) {
        self.open = false;
        self.challenge = None;
    }

    fn challenge<F: MappedFlash>(
        &mut self,
        storage: &Storage<F>,
    ) -> Result<Challenge, Fault<F::Error>> {
        self.close();
        if storage.key().is_none() {
            return Err(Fault::NoKey);
        }
        let source = self.source.as_mut().ok_or(Fault::NoNonce)?;
        let nonce = source.nonce().ok_or(Fault::NoNonce)?;
        if self.last.replace(nonce) == Some(nonce) {
            return Err(Fault::NoNonce);
        }
        self.session = self.session.wrapping_add(1);
        self.challenge = Some(nonce);
        Ok(Challenge {
            session: self.session,
            nonce,
            key_counter: storage.key_counter(),
        })
    }

    /// Takes the challenge away, whatever comes of it: it is answered once.
    fn authenticate<F: MappedFlash>(
        &mut self,
        storage: &Storage<F>,
        signature: &[u8],
    ) -> Result<(), Fault<F::Error>> {
        let challenge = self.challenge.take();
        self.close();
        let key = storage.key().ok_or(Fault::NoKey)?;
        let nonce = challenge.ok_or(Fault::NoChallenge)?;
        let signature = whole(signature)?;
        key.verify_session(self.session, &nonce, signature)
            .map_err(Fault::Signature)?;
        self.open = true;
        Ok(())
    }
}

fn whole<E>(signature: &[u8]) -> Result<&[u8; SIGNATURE_BYTES], Fault<E>> {
    let wrong = Fault::Signature(SignatureFault::Wrong);
    signature.try_into().map_err(|_| wrong)
}

/// Answers a request about keys.
pub(super) fn answer<F: MappedFlash, L: Write>(
    gate: &mut Gate<'_>,
    port: &mut Port,
    storage: &mut Storage<F>,
    line: &mut L,
) -> Result<(), L::Error> {
    let request = match port.request() {
        Ok(request) => request,
        Err(fault) => return port.fail(line, ErrorCode::Unknown, 0, &fault),
    };
    let done = match request {
        Request::Challenge => gate.challenge(storage).map(Reply::Challenge),
        Request::Authenticate { signature } => gate
            .authenticate(storage, signature)
            .map(|()| Reply::Received(0)),
        other => change(gate, storage, &other).map(|()| Reply::Received(0)),
    };
    match done {
        Ok(reply) => port.reply(line, &reply),
        Err(fault) => {
            warn_display!("{}", fault);
            port.fail(line, fault.code(), 0, &fault)
        }
    }
}

/// Gives the device a key, the first one or another; whoever wants to write has to show that one.
fn change<F: MappedFlash>(
    gate: &mut Gate<'_>,
    storage: &mut Storage<F>,
    request: &Request<'_>,
) -> Result<(), Fault<F::Error>> {
    if !gate.is_open(storage) {
        return Err(Fault::Locked);
    }
    match request {
        Request::Provision { key } => storage.provision(key)?,
        Request::ReplaceKey {
            key,
            counter,
            signature,
        } => storage.replace_key(key, *counter, whole(signature)?)?,
        // `Part` sends no other here.
        _ => return Ok(()),
    }
    gate.close();
    Ok(())
}

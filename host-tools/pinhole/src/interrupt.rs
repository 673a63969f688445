//! Ctrl-C: the process ends soon, and nothing half-written stays behind.
//!
//! Verbs write through [`crate::files`], which registers what is unfinished here. The handler removes it and ends the process
//! with exit code 2. A verb that can stop cleanly by itself, as training does at the end of a step, asks for a flag with
//! [`stop_flag`]; the first signal then only sets the flag. SIGTERM, SIGKILL and a power cut are not handled: what they leave
//! has a name of its own that ends in `.tmp`, never that of a product.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::output::note;

/// Files and folders that are not finished yet.
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
/// Set by the first signal where a verb asked for it.
static STOP: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Sets the handler; called once, first thing.
pub(crate) fn install() {
    // Without a handler the system ends the process, and only the removal is lost.
    let _ = ctrlc::set_handler(on_signal);
}

/// A flag that the first signal sets instead of ending the process.
#[cfg(feature = "train")]
pub(crate) fn stop_flag() -> Arc<AtomicBool> {
    Arc::clone(STOP.get_or_init(Arc::default))
}

/// Runs on the handler's own thread.
fn on_signal() {
    if let Some(stop) = STOP.get()
        && !stop.swap(true, Ordering::Relaxed)
    {
        note!("stopping after this step; once more ends at once");
        return;
    }
    // Held until the process is gone, so that nothing new is begun and no finished product is renamed meanwhile.
    let unfinished = lock();
    unfinished.iter().for_each(|path| remove(path));
    note!("interrupted; nothing half-written is left");
    std::process::exit(2);
}

/// A path that is removed when this is dropped or the process is interrupted.
pub(crate) struct Unfinished(PathBuf);

impl Unfinished {
    /// Makes a new folder at `path`.
    pub(crate) fn folder(path: PathBuf) -> std::io::Result<Self> {
        let mut unfinished = lock();
        std::fs::create_dir(&path)?;
        unfinished.push(path.clone());
        Ok(Self(path))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Renames a finished file out of it, as one step in the eyes of the handler.
    pub(crate) fn release(&self, finished: &Path, target: &Path) -> std::io::Result<()> {
        let _no_signal = lock();
        std::fs::rename(finished, target)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let mut unfinished = lock();
        remove(&self.0);
        unfinished.retain(|path| *path != self.0);
    }
}

/// What cannot be removed costs space only.
fn remove(path: &Path) {
    let _ = std::fs::remove_dir_all(path);
}

/// A list of paths is whole after a panic too.
fn lock() -> MutexGuard<'static, Vec<PathBuf>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

//! Progress bars on standard error; hidden where nobody looks.

use indicatif::{ProgressBar, ProgressStyle};

use crate::output::is_muted;

/// A bar over the bytes of a file, whose length is yet to be set.
#[cfg(feature = "hub")]
pub(crate) fn bytes(what: &str) -> ProgressBar {
    if is_muted() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::no_length().with_message(what.to_string());
    let template = "{msg:<28} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    let style = ProgressStyle::with_template(template);
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

/// A bar over `count` things.
pub(crate) fn bar(what: &str, count: usize) -> ProgressBar {
    if is_muted() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(count as u64).with_message(what.to_string());
    let style = ProgressStyle::with_template("{msg:<22} {wide_bar} {pos}/{len} {per_sec} {eta}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

//! Progress bars on standard error; hidden where nobody looks.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar over `count` things.
pub(crate) fn bar(what: &str, count: usize) -> ProgressBar {
    let bar = ProgressBar::new(count as u64).with_message(what.to_string());
    let style = ProgressStyle::with_template("{msg:<22} {wide_bar} {pos}/{len} {per_sec} {eta}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

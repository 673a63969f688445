//! A packed model, read in place: [`Model::load`] checks everything once, in bounded time, over any bytes; after it,
//! accessors are infallible and a run cannot fail on the model's account.

mod checksum;
pub mod format;
pub mod op;

pub use checksum::checksum;

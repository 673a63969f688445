//! Measures of embeddings, as evaluations of CLIP-like models report them.
//!
//! What it is: pure functions over embeddings, scores and labels, one measure a file with its definition and its
//! source, and drawings of what they give ([`draw`]). Where numbers are drawn at random a seed decides, and the same
//! arguments give the same bits on any number of threads.
//!
//! What it is not: no pictures, models, files or printing. `pinhole eval` brings those.

pub mod calibration;
pub mod confusion;
pub mod draw;
pub mod duplicates;
pub mod interval;
pub mod kmeans;
pub mod knn;
pub mod lbfgs;
pub mod logistic;
pub mod nmi;
pub mod pca;
pub mod probe;
pub mod random;
pub mod ranking;
pub mod retrieval;
pub mod rows;
pub mod split;
pub mod temperature;
pub mod tsne;

pub use random::Random;
pub use rows::Rows;

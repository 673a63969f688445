//! The text side of a zero-shot classifier: from class names to the token ids and embeddings of their prompts.
//!
//! The method is CLIP's (Radford et al., arXiv:2103.00020, section 3.1): class names are set into prompt templates, each
//! prompt is embedded by the text encoder, and the mean direction of a class's prompts is its embedding.
//!
//! [`classes`] reads class lists and [`templates`] prompt templates, [`clean`] cleans a prompt, [`tokenizer`] turns
//! it into token ids, and [`ensemble`] drives a text encoder over all prompts of all classes.
//!
//! What is not here: the text encoder itself, which `pinhole-runtime` executes, and the byte layout of class banks.

#![deny(unsafe_code)]

pub mod classes;
pub mod clean;
pub mod ensemble;
pub mod templates;
pub mod tokenizer;

mod text_file;

pub use text_file::TextFileError;

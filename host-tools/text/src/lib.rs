//! The text side of a zero-shot classifier: from class names to the token ids and embeddings of their prompts.
//!
//! The method is CLIP's (Radford et al., arXiv:2103.00020, section 3.1): class names are set into prompt templates, each
//! prompt is embedded by the text encoder, and the mean direction of a class's prompts is its embedding.
//!
//! [`wordpiece`] turns text into token ids.
//!
//! What is not here: the text encoder itself, which `pinhole-runtime` executes, and the byte layout of class banks.

#![deny(unsafe_code)]

pub mod wordpiece;

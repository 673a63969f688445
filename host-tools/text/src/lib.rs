//! Tokenizers, prompt templates, class lists and class banks.

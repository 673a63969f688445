//! Contrastive training on Burn.

//! Bytes as the tokens `<0x00>` to `<0xFF>`, for what a vocabulary cannot spell otherwise.

/// The ids of the byte tokens that a vocabulary holds.
#[derive(Clone, Debug)]
pub(super) struct ByteFallback {
    ids: Box<[Option<u32>; 256]>,
}

impl ByteFallback {
    /// Looks the byte tokens up.
    pub(super) fn new(id: impl Fn(&str) -> Option<u32>) -> Self {
        let ids = std::array::from_fn(|byte| id(&format!("<0x{byte:02X}>")));
        Self { ids: Box::new(ids) }
    }

    /// Appends the bytes of `text`, when the vocabulary holds all of them.
    pub(super) fn push(&self, text: &str, ids: &mut Vec<u32>) -> bool {
        let bytes = text.bytes().map(|byte| self.ids[usize::from(byte)]);
        let Some(found) = bytes.collect::<Option<Vec<u32>>>() else {
            return false;
        };
        ids.extend(found);
        true
    }
}

//! The checks of parameters, each fault with its key.

/// Collects faults of one augmentation.
pub(super) struct Faults<'a> {
    place: &'a str,
    list: &'a mut Vec<String>,
}

impl<'a> Faults<'a> {
    pub(super) fn new(place: &'a str, list: &'a mut Vec<String>) -> Self {
        Self { place, list }
    }

    pub(super) fn tell(&mut self, key: &str, fault: &str) {
        self.list.push(format!("`{key}` of {} {fault}", self.place));
    }

    /// A number that must lie between `least` and `most`.
    pub(super) fn number(&mut self, key: &str, found: f32, [least, most]: [f32; 2]) {
        if !(least..=most).contains(&found) {
            self.tell(key, &format!("is {found}, expected {least} to {most}"));
        }
    }

    /// A range `[smallest, largest]` that must lie between `least` and `most`.
    pub(super) fn range(&mut self, key: &str, found: [f32; 2], [least, most]: [f32; 2]) {
        let [a, b] = found;
        if !(least <= a && a <= b && b <= most) {
            self.tell(
                key,
                &format!(
                    "is [{a}, {b}], expected two numbers of {least} to {most}, the smaller first"
                ),
            );
        }
    }
}

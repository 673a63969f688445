//! The plugin's arguments, `NAME=VALUE`.

use std::path::PathBuf;

use crate::{HINT, HINT_NEXT};

/// What arriving at an address does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// Enters this region.
    Enter(u64),
    /// Enters the one after the present.
    EnterNext,
}

impl Arrival {
    /// What a T32 instruction does that begins a block, when it is a mark.
    pub(crate) fn of_hint(bytes: [u8; 4]) -> Option<Self> {
        let [first, second, third, fourth] = HINT;
        let region = u64::from(bytes[2] & 0x0F);
        match [bytes[0], bytes[1], bytes[2] & 0xF0, bytes[3]] == [first, second, third, fourth] {
            false => None,
            true if region == HINT_NEXT => Some(Self::EnterNext),
            true => Some(Self::Enter(region)),
        }
    }
}

/// The arguments.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// Where the table goes; standard error when there is none.
    pub(crate) out: Option<PathBuf>,
    /// How many blocks it has.
    pub(crate) blocks: usize,
    /// Addresses that are marks.
    pub(crate) arrivals: Vec<(u64, Arrival)>,
}

impl Options {
    /// Reads the arguments; the error is one line for people.
    pub(crate) fn parse<'a>(arguments: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        let mut options = Self::default();
        for argument in arguments {
            options.take(argument).ok_or_else(|| {
                format!("found {argument}, expected out=FILE, blocks=N, at=ADDRESS:REGION or next=ADDRESS")
            })?;
        }
        Ok(options)
    }

    fn take(&mut self, argument: &str) -> Option<()> {
        let (name, value) = argument.split_once('=')?;
        match name {
            "out" => self.out = Some(value.into()),
            "blocks" => self.blocks = value.parse().ok()?,
            "at" => {
                let (address, region) = value.split_once(':')?;
                let arrival = Arrival::Enter(region.parse().ok()?);
                self.arrivals.push((parse_address(address)?, arrival));
            }
            "next" => self
                .arrivals
                .push((parse_address(value)?, Arrival::EnterNext)),
            _ => return None,
        }
        Some(())
    }
}

/// A hexadecimal number, with or without its prefix.
fn parse_address(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_read() {
        let arguments = ["out=a.txt", "blocks=7", "at=0x1f:2", "next=20"];
        assert_eq!(
            Options::parse(arguments.into_iter()),
            Ok(Options {
                out: Some("a.txt".into()),
                blocks: 7,
                arrivals: vec![(0x1f, Arrival::Enter(2)), (0x20, Arrival::EnterNext)],
            })
        );
    }

    #[test]
    fn debug_hints_are_marks_and_other_instructions_are_not() {
        let hint = |third| Arrival::of_hint([0xAF, 0xF3, third, 0x80]);
        assert_eq!(hint(0xF3), Some(Arrival::Enter(3)));
        assert_eq!(hint(0xFF), Some(Arrival::EnterNext));
        assert_eq!(hint(0x00), None, "nop.w");
        assert_eq!(Arrival::of_hint([0; 4]), None);
    }

    #[test]
    fn an_argument_that_is_none_is_refused() {
        for wrong in ["blocks", "blocks=x", "at=10", "at=zz:1", "next=", "speed=1"] {
            assert!(Options::parse([wrong].into_iter()).is_err(), "{wrong}");
        }
    }
}

//! What is wrong with a graph, all of it at once.

use std::fmt;

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphFault {
    /// Node or value, by name.
    pub at: String,
    /// What was found, and what was expected.
    pub what: String,
}

/// Never empty when it is an error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GraphFaults(pub Vec<GraphFault>);

impl GraphFaults {
    /// Adds one.
    pub fn push(&mut self, at: impl Into<String>, what: impl Into<String>) {
        self.0.push(GraphFault {
            at: at.into(),
            what: what.into(),
        });
    }

    /// Itself as an error when there is one.
    ///
    /// # Errors
    /// When a fault was pushed.
    pub fn into_result(self) -> Result<(), Self> {
        if self.0.is_empty() { Ok(()) } else { Err(self) }
    }
}

impl fmt::Display for GraphFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [fault] => write!(f, "{}: {}", fault.at, fault.what),
            faults => {
                write!(f, "the graph has {} faults", faults.len())?;
                faults
                    .iter()
                    .try_for_each(|fault| write!(f, "\n  {}: {}", fault.at, fault.what))
            }
        }
    }
}

impl std::error::Error for GraphFaults {}

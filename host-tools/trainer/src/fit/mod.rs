//! Training of an image encoder end to end: any imported graph, by contrast with frozen texts, by distillation from
//! frozen teachers, in f32 or with the rounding of the packed int8 model.
//!
//! | Part | File |
//! |---|---|
//! | what is asked for | `recipe`, `check` |
//! | what it is made of before the first step | `setup`, `head`, `source`, `texts`, `encoder` |
//! | the encoder and what trains beside it | `student`, `float`, `extras` |
//! | what teachers say, on disk, and averages of it | `teacher_cache`, `neighbourhood` |
//! | the loss, a step, a run | `targets`, `objective`, `step`, `run` |
//! | several processes as one | `share` |
//! | what is kept and told | `state`, `watch`, `log`, `evaluate`, `report` |
//!
//! The same recipe, files and machine give the same bytes, also when the run was killed and resumed on the way. Batch
//! normalisation was folded by the import, so that a network with it is fine-tuned here, not trained from nothing.
//! `docs/training.md` is the reference of recipes.

mod check;
mod encoder;
mod evaluate;
mod extras;
#[cfg(test)]
mod fixture;
mod float;
mod head;
mod log;
mod neighbourhood;
mod objective;
mod recipe;
mod report;
mod run;
mod setup;
mod share;
mod source;
mod state;
mod step;
mod student;
mod targets;
mod teacher_cache;
#[cfg(test)]
mod tests;
mod texts;
mod watch;

pub use recipe::{
    Data, Distance, Evaluate, FIT_VERSION, FitRecipe, HeadStart, Image, Lora, Loss, Optimiser,
    Output, Quantise, Reinforced, Teacher, Text, Trainable,
};
pub use report::{Estimate, FitReport};
pub use run::fit;

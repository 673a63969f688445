//! Training of encoders end to end: any imported image graph, by contrast with texts of a frozen encoder or of one that
//! trains too, by distillation from frozen teachers, in f32 or with the rounding of the packed int8 model; and of a decoder
//! that captions pictures beside them.
//!
//! | Part | File |
//! |---|---|
//! | what is asked for | `recipe`, `check` |
//! | what it is made of before the first step | `setup`, `towers`, `head`, `source`, `texts`, `encoder` |
//! | a graph that trains; over pictures, over texts, from nothing | `tower`, `float`, `student`, `text_tower`, `new_text` |
//! | all that trains as one list, and what trains beside the graphs | `learner`, `extras` |
//! | captions: where tokens are, their loss, held-out pictures | `spatial`, `caption`, `captions` |
//! | what teachers say, on disk, and averages of it | `teacher_cache`, `neighbourhood` |
//! | the pictures of a step, the loss, its factor in f16, a step, a run | `inputs`, `targets`, `objective`, `loss_scale`, `step`, `run` |
//! | several processes as one | `share` |
//! | what is kept and told | `products`, `state`, `watch`, `log`, `evaluate`, `report` |
//!
//! The same recipe, files and machine give the same bytes, also when the run was killed and resumed on the way. Batch
//! normalisation was folded by the import, so that a network with it is fine-tuned here, not trained from nothing.
//! `docs/training.md` is the reference of recipes.

mod caption;
mod captions;
mod check;
#[cfg(test)]
mod coca_tests;
#[cfg(test)]
mod device_tests;
mod encoder;
mod evaluate;
mod extras;
#[cfg(test)]
mod fixture;
mod float;
mod head;
mod inputs;
mod learner;
mod log;
mod loss_scale;
mod neighbourhood;
mod new_text;
mod objective;
mod products;
mod recipe;
mod report;
mod run;
mod setup;
mod share;
mod source;
mod spatial;
mod state;
mod step;
mod student;
mod targets;
mod teacher_cache;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod text_tests;
mod text_tower;
mod texts;
mod tower;
mod towers;
mod watch;

pub use captions::CaptionReport;
pub use recipe::{
    Caption, Data, Distance, Evaluate, FIT_VERSION, FitRecipe, HeadStart, Image, Lora, Loss,
    NewText, Optimiser, Output, Quantise, Reinforced, Teacher, Text, Trainable,
};
pub use report::{Estimate, FitReport};
pub use run::fit;

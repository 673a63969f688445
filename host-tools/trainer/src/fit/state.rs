//! What is between two steps, in a checkpoint that a kill at any moment leaves whole.

use std::path::Path;

use sha2::{Digest, Sha256};

use super::learner::Learner;
use super::log::Log;
use super::loss_scale::LossScale;
use super::step::Optimiser;
use super::watch::Watch;
use crate::TrainError;
use crate::checkpoint::Saved;
use crate::data::Position;
use crate::optim::{Average, Moments};
use crate::output::floats;
use crate::recipe::hex;
use crate::rng::Rng;

/// Everything that a step changes.
pub(super) struct State {
    /// Steps done.
    pub(super) step: usize,
    /// The batch to come.
    pub(super) position: Position,
    pub(super) learner: Learner,
    pub(super) optimiser: Optimiser,
    pub(super) watch: Watch,
    pub(super) log: Log,
}

/// What has to be equal for a checkpoint to be continued: names and SHA-256.
pub(super) type Identity = [(&'static str, String); 3];

fn entries(identity: &Identity) -> Vec<(&str, &str)> {
    identity
        .iter()
        .map(|(key, value)| (*key, value.as_str()))
        .collect()
}

impl State {
    /// Writes the state to `path`, whole or not at all.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(super) fn save(&self, path: &Path, identity: &Identity) -> Result<(), TrainError> {
        let mut tensors = Vec::new();
        let mut add = |name: String, data: Vec<f32>| tensors.push((name, vec![data.len()], data));
        for (index, moments) in self.optimiser.moments.iter().enumerate() {
            if let Some(data) = self.data(index) {
                add(format!("{index}/now"), data.to_vec());
                add(format!("{index}/first"), moments.first.clone());
                add(format!("{index}/second"), moments.second.clone());
            }
        }
        if let Some(average) = &self.optimiser.average {
            for (index, data) in average.values().iter().enumerate() {
                add(format!("{index}/average"), data.clone());
            }
        }
        let Position { epoch, step } = self.position;
        add("position".to_owned(), vec![epoch as f32, step as f32]);
        add("watch".to_owned(), self.watch.numbers().to_vec());
        if let Some(numbers) = self.optimiser.loss_scale.numbers() {
            add("loss_scale".to_owned(), numbers.to_vec());
        }
        let rows = self.log.rows.len();
        tensors.push((
            "log".to_owned(),
            vec![rows, self.log.width()],
            self.log.rows.concat(),
        ));
        let saved = Saved {
            step: self.step,
            tensors,
        };
        // What a step draws is a function of its place in the run, not of what was drawn before.
        saved.write(path, &entries(identity), &Rng::new(0))
    }

    /// SHA-256 over all that trains, hexadecimal.
    pub(super) fn sha256(&self) -> String {
        let mut hasher = Sha256::new();
        let all = 0..self.optimiser.moments.len();
        all.filter_map(|index| self.data(index))
            .for_each(|data| hasher.update(floats(data)));
        hex(&hasher.finalize())
    }

    /// The numbers of parameter `index`; `None` for one that does not train.
    fn data(&self, index: usize) -> Option<&[f32]> {
        self.learner.trains(index).then(|| self.learner.data(index))
    }

    /// Takes the state that `bytes` of the file `path` hold into this one, which is at its start.
    ///
    /// # Errors
    /// Bytes that are damaged, or of another recipe or other inputs.
    pub(super) fn load(
        &mut self,
        (path, bytes): (&Path, &[u8]),
        identity: &Identity,
    ) -> Result<(), TrainError> {
        let (mut saved, _) = Saved::parse(path, bytes, &entries(identity))?;
        self.take(&mut saved)
            .map_err(|message| TrainError::Checkpoint {
                path: path.to_path_buf(),
                message,
            })?;
        self.step = saved.step;
        Ok(())
    }

    fn take(&mut self, saved: &mut Saved) -> Result<(), String> {
        for index in 0..self.optimiser.moments.len() {
            let Some(len) = self.data(index).map(<[f32]>::len) else {
                continue;
            };
            let now = saved.take(&format!("{index}/now"), &[len])?;
            self.learner.set(index, now);
            self.optimiser.moments[index] = Moments {
                first: saved.take(&format!("{index}/first"), &[len])?,
                second: saved.take(&format!("{index}/second"), &[len])?,
            };
        }
        if let Some(average) = &mut self.optimiser.average {
            let lens: Vec<usize> = average.values().iter().map(Vec::len).collect();
            let values = lens.into_iter().enumerate();
            let values = values.map(|(index, len)| saved.take(&format!("{index}/average"), &[len]));
            *average = Average::new(values.collect::<Result<_, _>>()?, average.decay());
        }
        let position = saved.take("position", &[2])?;
        self.position = Position {
            epoch: position[0] as usize,
            step: position[1] as usize,
        };
        self.watch = Watch::from_numbers(&saved.take("watch", &[Watch::LEN])?);
        if self.optimiser.loss_scale.numbers().is_some() {
            let numbers = saved.take("loss_scale", &[LossScale::LEN])?;
            self.optimiser.loss_scale.take(&numbers);
        }
        let logged = saved.tensors.iter().find(|(name, ..)| name == "log");
        let rows = logged.map_or(0, |(_, shape, _)| shape.first().copied().unwrap_or(0));
        let log = saved.take("log", &[rows, self.log.width()])?;
        self.log.rows = log
            .chunks_exact(self.log.width())
            .map(<[f32]>::to_vec)
            .collect();
        Ok(())
    }
}

//! Runs a graph through the runtime and shows every value to the caller.

use pinhole_graph::{Graph, ValueId};
use pinhole_pack::{PackOptions, Packed, pack};
use pinhole_runtime::interpreter::{AlignedBytes, InputError, Interpreter, Observer, Unobserved};
use pinhole_runtime::kernel;
use pinhole_runtime::model::format::{DType, OpRecord};
use pinhole_runtime::model::{Model, ValueView};
use self_cell::self_cell;

use crate::{Input, QuantizeError};

self_cell!(
    /// A model beside its bytes, which are checked once and not at every run.
    struct Loaded {
        owner: AlignedBytes,
        #[covariant]
        dependent: Model,
    }

    impl {Debug}
);

/// A packed graph and the way back from its values to the graph's.
#[derive(Debug)]
pub struct Runner {
    loaded: Loaded,
    packed: Packed,
    /// For each model value, the graph value that it holds.
    graph_value: Vec<Option<ValueId>>,
    /// Elements of the input, at most these where it is dynamic.
    input_len: usize,
    dynamic: bool,
}

impl Runner {
    /// Packs `graph` as it is: in f32 where it is not quantised.
    ///
    /// # Errors
    /// When it cannot be packed or does not have one input.
    pub fn new(graph: &Graph) -> Result<Self, QuantizeError> {
        let packed = pack(graph, &PackOptions::default())?;
        let &[input] = &graph.inputs[..] else {
            return Err(QuantizeError::Run(format!(
                "it has {} inputs, expected 1",
                graph.inputs.len()
            )));
        };
        let bytes = AlignedBytes::from_slice(&packed.bytes);
        let loaded = Loaded::try_new(bytes, |bytes| Model::load(bytes))
            .map_err(|error| QuantizeError::Run(error.to_string()))?;
        let model = loaded.borrow_dependent();
        let mut graph_value = Vec::new();
        for (value, mapped) in packed.value_map.iter().enumerate() {
            if let Some(mapped) = *mapped {
                graph_value.resize(graph_value.len().max(mapped + 1), None);
                graph_value[mapped] = Some(value);
            }
        }
        // What an operator writes may be known to the graph in another shape alone.
        for value in graph.nodes.iter().map(|node| node.output) {
            if let Some(mapped) = packed.value_map[value] {
                graph_value[model.value(mapped).storage].get_or_insert(value);
            }
        }
        let input_len = graph.values[input].shape.iter().product();
        Ok(Self {
            loaded,
            packed,
            graph_value,
            input_len,
            dynamic: graph.values[input].dynamic,
        })
    }

    /// What packing made of it.
    pub fn packed(&self) -> &Packed {
        &self.packed
    }

    /// Runs one input, and shows each graph value as reals when it has been computed, a picture first.
    ///
    /// # Errors
    /// When the input has another length.
    pub fn run(
        &self,
        index: usize,
        input: &Input,
        see: &mut dyn FnMut(ValueId, &[f32]),
    ) -> Result<(), QuantizeError> {
        self.run_filtered(index, input, None, see)
    }

    /// As [`Self::run`], for some values alone.
    pub(crate) fn run_seeing(
        &self,
        index: usize,
        input: &Input,
        values: &[ValueId],
        see: &mut dyn FnMut(ValueId, &[f32]),
    ) -> Result<(), QuantizeError> {
        self.run_filtered(index, input, Some(values), see)
    }

    /// Whether the model takes what an input holds, and as much of it.
    fn check(&self, index: usize, input: &Input, wants_ids: bool) -> Result<(), QuantizeError> {
        let length = match self.dynamic {
            true => (1..=self.input_len).contains(&input.len()),
            false => input.len() == self.input_len,
        };
        if length && matches!(input, Input::Ids(_)) == wants_ids {
            return Ok(());
        }
        let (most, len) = (if self.dynamic { "1 to " } else { "" }, self.input_len);
        let wanted = if wants_ids { "token ids" } else { "numbers" };
        Err(QuantizeError::InputLength {
            index,
            found: input.len(),
            what: input.what(),
            expected: format!("{most}{len} {wanted}"),
        })
    }

    fn run_filtered(
        &self,
        index: usize,
        input: &Input,
        only: Option<&[ValueId]>,
        see: &mut dyn FnMut(ValueId, &[f32]),
    ) -> Result<(), QuantizeError> {
        let model = self.model();
        let mut arena = AlignedBytes::zeroed(model.arena_bytes());
        let mut interpreter = self.begin(model, &mut arena, index, input)?;
        if let Input::Reals(reals) = input
            && let Some(Some(id)) = model
                .inputs()
                .next()
                .and_then(|value| self.graph_value.get(value))
            && only.is_none_or(|only| only.contains(id))
        {
            see(*id, reals);
        }
        interpreter.run_observed(&mut self.eyes(model, only, see));
        Ok(())
    }

    /// The operator that writes `value`, by its place among them.
    pub(crate) fn operator(&self, value: ValueId) -> Option<usize> {
        let writes = |op: &OpRecord| {
            let written = self.graph_value.get(usize::from(op.output.get()));
            written == Some(&Some(value))
        };
        self.model().ops().iter().position(writes)
    }

    /// Where everything lies that operators write: a run that stopped goes on in another model with the same plan.
    pub(crate) fn plan(&self) -> Plan {
        let model = self.model();
        let place = |op: &OpRecord| {
            let value = model.value(op.output.get().into());
            (value.offset, value.bytes)
        };
        Plan {
            arena_bytes: model.arena_bytes(),
            outputs: model.ops().iter().map(place).collect(),
        }
    }

    /// Runs up to before operator `stop`, from where `stopped` is or from the start, and leaves `stopped` there; then, on a
    /// copy, up to before operator `end`, showing `values`.
    ///
    /// # Errors
    /// When the input has another length.
    pub(crate) fn go_on(
        &self,
        (index, input): (usize, &Input),
        stopped: &mut Option<Stopped>,
        (stop, end): (usize, usize),
        values: &[ValueId],
        see: &mut dyn FnMut(ValueId, &[f32]),
    ) -> Result<(), QuantizeError> {
        let model = self.model();
        let mut held = stopped.take().unwrap_or_else(|| Stopped {
            arena: AlignedBytes::zeroed(model.arena_bytes()),
            done: 0,
        });
        let mut interpreter = match held.done {
            0 => self.begin(model, &mut held.arena, index, input)?,
            _ => self.interpreter(model, &mut held.arena, input)?,
        };
        interpreter.run_part(held.done..stop, &mut Unobserved);
        held.done = stop;
        let mut arena = held.arena.clone();
        let mut interpreter = self.interpreter(model, &mut arena, input)?;
        interpreter.run_part(stop..end, &mut self.eyes(model, Some(values), see));
        *stopped = Some(held);
        Ok(())
    }

    fn model(&self) -> &Model<'_> {
        self.loaded.borrow_dependent()
    }

    /// An interpreter of as many tokens as `input` has.
    fn interpreter<'m, 'a>(
        &self,
        model: &Model<'m>,
        arena: &'a mut [u8],
        input: &Input,
    ) -> Result<Interpreter<'m, 'a>, QuantizeError> {
        let failed = |error: InputError| QuantizeError::Run(error.to_string());
        let mut interpreter = Interpreter::new(model, arena, kernel::detect()).map_err(failed)?;
        if self.dynamic {
            interpreter.set_tokens(input.len()).map_err(failed)?;
        }
        Ok(interpreter)
    }

    /// An interpreter that `input` is written to.
    fn begin<'m, 'a>(
        &self,
        model: &Model<'m>,
        arena: &'a mut [u8],
        index: usize,
        input: &Input,
    ) -> Result<Interpreter<'m, 'a>, QuantizeError> {
        let record = model.inputs().next().map(|value| model.value(value));
        let record = record.ok_or_else(|| QuantizeError::Run("no input".to_owned()))?;
        self.check(index, input, record.dtype == DType::I32)?;
        let mut interpreter = self.interpreter(model, arena, input)?;
        write(&mut interpreter, &record, input)
            .map_err(|error| QuantizeError::Run(error.to_string()))?;
        Ok(interpreter)
    }

    fn eyes<'m, 'a, 's>(
        &'m self,
        model: &'m Model<'a>,
        only: Option<&'m [ValueId]>,
        see: &'s mut dyn FnMut(ValueId, &[f32]),
    ) -> Eyes<'m, 'a, 's> {
        Eyes {
            model,
            graph_value: &self.graph_value,
            only,
            see,
            reals: Vec::new(),
        }
    }
}

/// A run that stopped between two operators.
#[derive(Clone, Debug)]
pub(crate) struct Stopped {
    arena: AlignedBytes,
    /// Operators that have run.
    done: usize,
}

/// The arena of a model, as far as a run that goes on needs it to be the same.
#[derive(Debug, PartialEq)]
pub(crate) struct Plan {
    pub(crate) arena_bytes: usize,
    /// Offset and bytes of what each operator writes.
    outputs: Vec<(usize, usize)>,
}

/// Writes an input that was checked.
fn write(
    interpreter: &mut Interpreter<'_, '_>,
    record: &ValueView,
    input: &Input,
) -> Result<(), InputError> {
    match input {
        Input::Ids(ids) => interpreter.input_i32_mut(0)?.copy_from_slice(ids),
        Input::Reals(reals) if record.dtype == DType::F32 => {
            interpreter.input_f32_mut(0)?.copy_from_slice(reals);
        }
        Input::Reals(reals) => {
            let dst = interpreter.input_s8_mut(0)?;
            kernel::detect().quantize_f32(reals, record.scale, record.zero_point, dst);
        }
    }
    Ok(())
}

/// Turns outputs into reals and passes them on.
struct Eyes<'m, 'a, 's> {
    model: &'m Model<'a>,
    graph_value: &'m [Option<ValueId>],
    only: Option<&'m [ValueId]>,
    see: &'s mut dyn FnMut(ValueId, &[f32]),
    reals: Vec<f32>,
}

impl Observer for Eyes<'_, '_, '_> {
    fn after_op(&mut self, _op: usize, value: usize, output: &[u8]) {
        let Some(Some(id)) = self.graph_value.get(value).copied() else {
            return;
        };
        if self.only.is_some_and(|only| !only.contains(&id)) {
            return;
        }
        let view = self.model.value(value);
        let real = |q: i32| view.scale * (q - view.zero_point) as f32;
        self.reals.clear();
        match view.dtype {
            DType::F32 => self
                .reals
                .extend(output.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b))),
            DType::I8 => self
                .reals
                .extend(output.iter().map(|&b| real(i32::from(b as i8)))),
            DType::I16 => self.reals.extend(
                output
                    .as_chunks()
                    .0
                    .iter()
                    .map(|b| real(i32::from(i16::from_le_bytes(*b)))),
            ),
            DType::I32 | DType::F16 => return,
        }
        (self.see)(id, &self.reals);
    }
}

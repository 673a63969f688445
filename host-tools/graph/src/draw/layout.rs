//! Where the boxes of an acyclic graph stand: in ranks from top to bottom, after Sugiyama, Tagawa and Toda, "Methods
//! for visual understanding of hierarchical system structures" (1981).
//!
//! 1. The rank of a box is the length of the longest path to it; a box without inputs moves down to its first reader.
//! 2. An arrow over several ranks gets a bend in each rank between.
//! 3. Boxes of a rank are ordered by the mean place of their neighbours, down and up in turn; the order with the fewest
//!    crossings stays.
//! 4. Each rank is placed as near to its neighbours as the widths allow (least squares by pooling neighbours that would
//!    overlap). The trunk, a longest path through the graph, is straight; boxes pull more than bends, and the bends of an arrow
//!    share a lane in the end.

/// x and y in pixels.
pub(super) type Point = [f64; 2];

/// Between two boxes of a rank, and between a box and an arrow that passes.
const GAP: f64 = 26.0;
/// Between two arrows that pass.
const LANE: f64 = 14.0;
/// Between ranks.
const RANK_GAP: f64 = 30.0;
/// Sweeps that order, and sweeps that place.
const SWEEPS: usize = 12;
/// How much more a box pulls than a bend.
const BOX_PULL: f64 = 64.0;
/// How much more the trunk does.
const TRUNK_PULL: f64 = 1e7;

/// Places of boxes and bends.
#[derive(Debug)]
pub(super) struct Layout {
    /// Width and height.
    pub(super) size: Point,
    /// Of each box.
    pub(super) centres: Vec<Point>,
    /// Of each edge, from top to bottom.
    pub(super) bends: Vec<Vec<Point>>,
}

/// Lays out `count` boxes of one size; each edge leads from a box to a later one.
pub(super) fn layout(count: usize, edges: &[[usize; 2]], size: Point) -> Layout {
    let (mut ranked, chains) = Ranked::new(count, edges, size[0]);
    ranked.order();
    ranked.find_trunk();
    ranked.place(&chains);
    let x = &ranked.x;
    let half = |cell: usize| ranked.width(cell) / 2.0;
    let cells = || 0..x.len();
    let left = cells().map(|cell| x[cell] - half(cell)).fold(0.0, f64::min);
    let right = cells().map(|cell| x[cell] + half(cell)).fold(0.0, f64::max);
    let step = size[1] + RANK_GAP;
    let point = |cell: usize| {
        [
            x[cell] - left,
            ranked.rank[cell] as f64 * step + size[1] / 2.0,
        ]
    };
    Layout {
        size: [right - left, ranked.rows.len() as f64 * step - RANK_GAP],
        centres: (0..count).map(point).collect(),
        bends: chains
            .iter()
            .map(|chain| chain.iter().map(|&cell| point(cell)).collect())
            .collect(),
    }
}

/// Boxes, then bends, in ranks. Both are cells.
struct Ranked {
    boxes: usize,
    box_width: f64,
    /// Of each cell.
    rank: Vec<usize>,
    /// Cells of each rank, from left to right.
    rows: Vec<Vec<usize>>,
    /// Neighbours in the rank above and in that below.
    neighbours: [Vec<Vec<usize>>; 2],
    /// Whether each cell is on the longest path.
    is_trunk: Vec<bool>,
    /// Centre of each cell.
    x: Vec<f64>,
}

impl Ranked {
    /// Ranks, and the bends of each edge.
    fn new(count: usize, edges: &[[usize; 2]], box_width: f64) -> (Self, Vec<Vec<usize>>) {
        let mut rank = ranks(count, edges);
        let mut neighbours = [vec![Vec::new(); count], vec![Vec::new(); count]];
        let mut chains = Vec::new();
        for &[from, to] in edges {
            let between = rank[from] + 1..rank[to];
            let bends: Vec<usize> = between
                .clone()
                .map(|at| rank.len() + at - between.start)
                .collect();
            rank.extend(between);
            neighbours
                .iter_mut()
                .for_each(|side| side.resize(rank.len(), Vec::new()));
            let path: Vec<usize> = [from]
                .into_iter()
                .chain(bends.clone())
                .chain([to])
                .collect();
            for pair in path.windows(2) {
                neighbours[0][pair[1]].push(pair[0]);
                neighbours[1][pair[0]].push(pair[1]);
            }
            chains.push(bends);
        }
        let mut rows = vec![Vec::new(); rank.iter().max().map_or(0, |last| last + 1)];
        // Bends come after boxes, so that an arrow passes on the right unless something asks for the left.
        rank.iter()
            .enumerate()
            .for_each(|(cell, &rank)| rows[rank].push(cell));
        let x = vec![0.0; rank.len()];
        let ranked = Self {
            boxes: count,
            box_width,
            rank,
            rows,
            neighbours,
            is_trunk: vec![false; x.len()],
            x,
        };
        (ranked, chains)
    }

    fn is_box(&self, cell: usize) -> bool {
        cell < self.boxes
    }

    fn width(&self, cell: usize) -> f64 {
        if self.is_box(cell) {
            self.box_width
        } else {
            0.0
        }
    }

    /// Least distance of the centres of two cells side by side.
    fn distance(&self, left: usize, right: usize) -> f64 {
        let gap = if self.is_box(left) || self.is_box(right) {
            GAP
        } else {
            LANE
        };
        (self.width(left) + self.width(right)) / 2.0 + gap
    }

    fn order(&mut self) {
        let mut best = (self.crossings(), self.rows.clone());
        for sweep in 0..SWEEPS {
            self.sweep_order(sweep % 2);
            let crossings = self.crossings();
            if crossings < best.0 {
                best = (crossings, self.rows.clone());
            }
        }
        self.rows = best.1;
    }

    /// Orders every rank by the mean place of its neighbours on one side.
    fn sweep_order(&mut self, side: usize) {
        let mut place = self.places();
        let count = self.rows.len();
        for step in 1..count {
            let row = if side == 0 { step } else { count - 1 - step };
            let wanted = |&cell: &usize| {
                let there = &self.neighbours[side][cell];
                match there.len() {
                    0 => place[cell],
                    len => there.iter().map(|&cell| place[cell]).sum::<f64>() / len as f64,
                }
            };
            let mut cells: Vec<(f64, usize)> = self.rows[row]
                .iter()
                .map(|cell| (wanted(cell), *cell))
                .collect();
            cells.sort_by(|a, b| a.0.total_cmp(&b.0));
            self.rows[row] = cells.into_iter().map(|(_, cell)| cell).collect();
            set_places(&self.rows[row], &mut place);
        }
    }

    /// Of each cell in its rank, centred on 0.
    fn places(&self) -> Vec<f64> {
        let mut place = vec![0.0; self.rank.len()];
        self.rows.iter().for_each(|row| set_places(row, &mut place));
        place
    }

    /// Pairs of arrows between neighbouring ranks that cross.
    fn crossings(&self) -> usize {
        let place = self.places();
        let between = |row: &Vec<usize>| {
            let mut ends: Vec<f64> = Vec::new();
            for &cell in row {
                let mut below: Vec<f64> = self.neighbours[1][cell]
                    .iter()
                    .map(|&cell| place[cell])
                    .collect();
                below.sort_by(f64::total_cmp);
                ends.extend(below);
            }
            (0..ends.len())
                .map(|i| ends[..i].iter().filter(|&&left| left > ends[i]).count())
                .sum::<usize>()
        };
        self.rows.iter().map(between).sum()
    }

    /// Follows the longest chain of boxes from the top; where several are as long, that in the middle.
    fn find_trunk(&mut self) {
        let place = self.places();
        let mut boxes_below = vec![0usize; self.rank.len()];
        for &cell in self.rows.iter().rev().flatten() {
            let below = self.neighbours[1][cell]
                .iter()
                .map(|&next| boxes_below[next])
                .max();
            boxes_below[cell] = below.unwrap_or(0) + usize::from(self.is_box(cell));
        }
        let longest = |cells: &[usize]| {
            let most = cells.iter().map(|&cell| boxes_below[cell]).max()?;
            let mut ties: Vec<usize> = cells.to_vec();
            ties.retain(|&cell| boxes_below[cell] == most);
            ties.sort_by(|&a, &b| place[a].total_cmp(&place[b]));
            Some(ties[ties.len() / 2])
        };
        let mut next = self.rows.first().and_then(|row| longest(row));
        while let Some(cell) = next {
            self.is_trunk[cell] = true;
            next = longest(&self.neighbours[1][cell]);
        }
    }

    /// How strongly a cell goes where it wants to be.
    fn pull(&self, cell: usize) -> f64 {
        match (self.is_trunk[cell], self.is_box(cell)) {
            (true, _) => TRUNK_PULL,
            (_, true) => BOX_PULL,
            _ => 1.0,
        }
    }

    fn place(&mut self, chains: &[Vec<usize>]) {
        for row in 0..self.rows.len() {
            self.place_row(row, |_, _| 0.0);
        }
        for sweep in 0..SWEEPS {
            let count = self.rows.len();
            for step in 0..count {
                let row = if sweep % 2 == 0 {
                    step
                } else {
                    count - 1 - step
                };
                self.place_row(row, |ranked, cell| ranked.pulled(sweep % 2, cell));
            }
        }
        let mut lane = self.x.clone();
        for chain in chains {
            let furthest = chain.iter().map(|&cell| self.x[cell]).fold(0.0, further);
            chain.iter().for_each(|&cell| lane[cell] = furthest);
        }
        for row in 0..self.rows.len() {
            self.place_row(row, |_, cell| lane[cell]);
        }
    }

    /// Where the neighbours on one side want a cell to be.
    fn pulled(&self, side: usize, cell: usize) -> f64 {
        if self.is_trunk[cell] {
            return 0.0;
        }
        let there = &self.neighbours[side][cell];
        if there.is_empty() {
            return self.x[cell];
        }
        let sum: f64 = there.iter().map(|&cell| self.pull(cell)).sum();
        there
            .iter()
            .map(|&cell| self.pull(cell) * self.x[cell])
            .sum::<f64>()
            / sum
    }

    /// Least squares of the distances to where the cells of a rank want to be, at least their distances apart.
    fn place_row(&mut self, row: usize, wanted: impl Fn(&Self, usize) -> f64) {
        /// Cells that touch: how many, their weight, and the place of the first.
        struct Block {
            cells: usize,
            weight: f64,
            start: f64,
        }
        let cells = &self.rows[row];
        let mut offset = vec![0.0; cells.len()];
        for (index, pair) in cells.windows(2).enumerate() {
            offset[index + 1] = offset[index] + self.distance(pair[0], pair[1]);
        }
        let mut blocks: Vec<Block> = Vec::new();
        for (index, &cell) in cells.iter().enumerate() {
            let weight = self.pull(cell);
            let mut block = Block {
                cells: 1,
                weight,
                start: wanted(self, cell) - offset[index],
            };
            while let Some(last) = blocks.pop_if(|last| last.start > block.start) {
                let weight = last.weight + block.weight;
                block = Block {
                    cells: last.cells + block.cells,
                    weight,
                    start: (last.start * last.weight + block.start * block.weight) / weight,
                };
            }
            blocks.push(block);
        }
        let starts = blocks
            .iter()
            .flat_map(|block| std::iter::repeat_n(block.start, block.cells));
        for ((&cell, start), offset) in self.rows[row].iter().zip(starts).zip(offset) {
            self.x[cell] = start + offset;
        }
    }
}

/// The one further from the middle.
fn further(a: f64, b: f64) -> f64 {
    if b.abs() > a.abs() { b } else { a }
}

fn set_places(row: &[usize], place: &mut [f64]) {
    let middle = (row.len() as f64 - 1.0) / 2.0;
    row.iter()
        .enumerate()
        .for_each(|(index, &cell)| place[cell] = index as f64 - middle);
}

/// Longest paths from above; then a box without inputs moves to just above the first of its readers.
fn ranks(count: usize, edges: &[[usize; 2]]) -> Vec<usize> {
    let mut readers = vec![Vec::new(); count];
    edges.iter().for_each(|&[from, to]| readers[from].push(to));
    let mut rank = vec![0; count];
    for from in 0..count {
        for &to in &readers[from] {
            rank[to] = rank[to].max(rank[from] + 1);
        }
    }
    let has_inputs: Vec<bool> = {
        let mut has = vec![false; count];
        edges.iter().for_each(|&[_, to]| has[to] = true);
        has
    };
    for cell in (0..count).rev().filter(|&cell| !has_inputs[cell]) {
        if let Some(first) = readers[cell].iter().map(|&reader| rank[reader]).min() {
            rank[cell] = first - 1;
        }
    }
    rank
}

//! Long lives, without a file: what the steps of `steps.rs` do to the catalogue, done to the catalogue alone.

use super::*;

/// A catalogue that lives, with what it cost.
struct Life {
    catalogue: [Vec<Segment>; 2],
    limits: Limits,
    now: i64,
    written: i64,
    copied: i64,
    cancelled: usize,
    most_visible: usize,
}

impl Life {
    fn new(limits: Limits) -> Self {
        let catalogue = events(&[], 0);
        Self { catalogue, limits, now: 0, written: 0, copied: 0, cancelled: 0, most_visible: 0 }
    }

    fn open(&mut self) -> &mut Segment {
        self.catalogue[0].last_mut().expect("the open one")
    }

    fn segment(&mut self, number: i64) -> &mut Segment {
        self.catalogue[0].iter_mut().find(|segment| segment.number == number).expect("it is there")
    }

    fn write(&mut self, rows: i64) {
        if is_full(&self.open().clone(), rows, rows * 10, &self.limits) {
            self.apply(&Step::Close(EVENT));
        }
        let open = self.open();
        (open.rows, open.bytes, open.last_id) = (open.rows + rows, open.bytes + rows * 10, open.last_id + rows);
        self.written += rows;
    }

    /// Does at most `most` steps; returns how many there were to do.
    fn work(&mut self, urgency: Urgency, most: usize) -> usize {
        for done in 0..most {
            let Some(step) = next(&self.catalogue, Space::default(), &self.limits, self.now, urgency) else {
                return done;
            };
            self.apply(&step);
        }
        most
    }

    /// Does everything that there is to do: with no input that must come to an end.
    fn settle(&mut self) {
        let most = 8 * self.catalogue[0].len() + 64 + (self.written / self.limits.piece_rows) as usize;
        assert!(self.work(Urgency::Idle, most) < most, "it goes on for ever");
    }

    fn apply(&mut self, step: &Step) {
        let now = self.now;
        let number = self.catalogue[0].iter().map(|segment| segment.number).max().unwrap_or(0) + 1;
        match *step {
            Step::Close(_) => {
                let open = self.open();
                (open.state, open.closed_at) = (State::Closed, now);
                let first_id = open.last_id + 1;
                let mut next = events(&[], 0)[0].remove(0);
                (next.number, next.first_id, next.last_id, next.opened_at) = (number, first_id, first_id - 1, now);
                self.catalogue[0].push(next);
            }
            Step::Index(_, number) => self.segment(number).indexes += 1,
            Step::Merge(_, ref numbers) | Step::Grow(_, ref numbers) => {
                let (first, last) =
                    (self.segment(numbers[0]).clone(), self.segment(numbers[numbers.len() - 1]).clone());
                let at = self.catalogue[0].iter().position(|segment| segment.number == first.number).expect("there");
                numbers.iter().for_each(|source| self.segment(*source).target = Some(number));
                let mut target = first.clone();
                (target.number, target.state, target.indexes) = (number, State::Merging, 0);
                (target.rows, target.bytes, target.last_id) = (0, 0, first.first_id - 1);
                target.closed_at = last.closed_at;
                if matches!(step, Step::Grow(..)) {
                    target.indexes = indexes(EVENT).len();
                }
                self.catalogue[0].insert(at + 1, target);
            }
            Step::Copy { from, into, most, .. } => {
                let from = self.segment(from).clone();
                let into = self.segment(into);
                let left = from.last_id - into.last_id.max(from.first_id - 1);
                let rows = left.min(most);
                (into.rows, into.bytes) = (into.rows + rows, into.bytes + from.bytes * rows / from.rows);
                into.last_id = if rows < most { from.last_id } else { from.last_id - left + rows };
                self.copied += rows;
            }
            Step::Swap(_, number) => {
                self.segment(number).state = State::Closed;
                for source in self.catalogue[0].iter_mut().filter(|source| source.target == Some(number)) {
                    (source.state, source.target) = (State::Dropping, None);
                }
            }
            Step::Cancel(_, number) => {
                self.cancelled += 1;
                self.segment(number).state = State::Dropping;
                self.catalogue[0].iter_mut().for_each(|source| source.target = None);
            }
            Step::Retire(_, number, _) => self.segment(number).state = State::Dropping,
            Step::Shrink(_, number, most) => {
                let segment = self.segment(number);
                let rows = (segment.rows - most).max(0);
                (segment.rows, segment.bytes) = (rows, segment.bytes * rows / segment.rows);
            }
            Step::Drop(_, number) => self.catalogue[0].retain(|segment| segment.number != number),
            Step::Vacuum => {}
        }
        let visible: Vec<_> = visible(&self.catalogue[0]).collect();
        assert!(visible.windows(2).all(|pair| pair[0].last_id < pair[1].first_id), "{step:?}: {visible:#?}");
        self.most_visible = self.most_visible.max(visible.len());
    }

    fn rows(&self) -> i64 {
        visible(&self.catalogue[0]).map(|segment| segment.rows).sum()
    }

    /// How often a row was copied, on average.
    fn copies(&self) -> f64 {
        self.copied as f64 / self.written as f64
    }
}

/// As they are by default.
fn usual() -> Limits {
    Limits { most: 400, ..Limits::of(&Config::default()) }
}

/// A trickle of ten rows a day made segments of ten rows. Every seventh was merged with all that had been merged before:
/// a row was copied seven hundred times before its segment was large enough to be left alone.
#[test]
fn a_trickle_of_tiny_segments_is_not_copied_again_and_again() {
    let mut life = Life::new(usual());
    for _ in 0..10_000 {
        life.write(10);
        life.now += 86_400 * SECOND;
        life.settle();
    }
    assert_eq!(life.rows(), 100_000);
    assert!(life.copies() < 8.0, "each row was copied {} times", life.copies());
    assert!(life.most_visible < 60, "{} segments", life.most_visible);
}

#[test]
fn over_a_long_life_of_segments_of_all_sizes_rows_are_copied_few_times_and_few_segments_stay() {
    for seed in 0..3 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut life = Life::new(Limits { open_age: Duration::from_secs(1), ..usual() });
        for _ in 0..10_000 {
            // From one row to a full segment, each order of magnitude as likely as every other.
            let magnitude = random.u32(0..=15);
            life.write(random.i64(1..=1 << magnitude));
            life.now += 2 * SECOND;
            life.settle();
        }
        let merged = life.rows() / (life.limits.merged_rows / 2);
        assert!(life.copies() < 6.0, "seed {seed}: each row was copied {} times", life.copies());
        let visible = visible(&life.catalogue[0]).count();
        assert!((visible as i64) < merged + 60, "seed {seed}: {visible} segments of {} rows", life.rows());
    }
}

#[test]
fn under_full_load_merging_keeps_up_and_is_not_begun_before_it_must() {
    let mut life = Life::new(Limits { most: 16, merged_rows: 262_144, ..usual() });
    for batch in 0..2000 {
        life.write(8192);
        // The least that is done before a batch is one step.
        life.work(Urgency::Due, 2);
        life.now += SECOND / 10;
        assert!(batch > 50 || life.copied == 0, "begun early");
    }
    let merged = (life.rows() / (life.limits.merged_rows / 2)) as usize;
    assert!(life.most_visible < 16 + 16 + merged, "{} segments", life.most_visible);
    assert!(life.copies() < 3.0, "{}", life.copies());
    life.settle();
}

#[test]
fn retention_under_full_load_takes_what_it_must_and_merging_still_gets_somewhere() {
    let retention = RetentionConfig { max_rows: Some(40 * 8192), ..RetentionConfig::default() };
    let mut life = Life::new(Limits { open_rows: 8192, merged_rows: 65_536, most: 16, retention, ..usual() });
    for _ in 0..3000 {
        life.write(8192);
        life.work(Urgency::Due, 7);
        life.now += SECOND / 10;
        assert!(life.rows() >= life.written.min(40 * 8192), "never below what is kept");
        assert!(life.rows() <= 60 * 8192, "{} rows, {} segments", life.rows(), life.catalogue[0].len());
    }
    assert!(life.copies() < 3.0, "{} copies, {} given up", life.copies(), life.cancelled);
    assert!(life.most_visible < 50, "{} segments", life.most_visible);
}

/// What had been merged over a span was merged again over the next one, since its end was taken for its age: the oldest
/// row in it outlived `max_age` by as much again.
#[test]
fn no_row_outlives_its_age_by_much_and_none_goes_early() {
    let age = 16 * 3600;
    let retention = RetentionConfig { max_age: Some(Duration::from_secs(age)), ..RetentionConfig::default() };
    let open_age = Duration::from_secs(3600);
    for pace in [20, 60, 500, 4000, 20_000] {
        let mut life = Life::new(Limits { open_rows: 10, open_age, merged_rows: 100_000, retention, ..usual() });
        let mut commits = Vec::new();
        for _ in 0..2000 {
            life.write(5);
            commits.push((life.written, life.now));
            life.now += pace * SECOND;
            life.settle();
            let oldest = visible(&life.catalogue[0]).next().map_or(i64::MAX, |segment| segment.first_id);
            let (_, at) = commits.iter().find(|(last_id, _)| *last_id >= oldest).copied().unwrap_or((0, life.now));
            let (lived, age) = ((life.now - at) / SECOND, age as i64);
            assert!(lived <= age + age / 8 + 2 * pace, "at one in {pace} s a row lives {lived} s");
            let gone = commits.iter().rev().find(|(last_id, _)| *last_id < oldest);
            assert!(gone.is_none_or(|(_, at)| life.now - at > age * SECOND), "at one in {pace} s a row goes early");
        }
        assert!(life.most_visible < 90, "at one in {pace} s: {} segments", life.most_visible);
    }
}

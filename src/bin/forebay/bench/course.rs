//! How a run went over time: a point each second, thinned when there are too many. Pure: time and figures are arguments.
//!
//! A soak of days must not fill memory, nor a picture: at [`MOST`] points each two neighbours become one, and from then
//! on points come half as often. Rates of merged points are exact; of latencies the worse one is kept.

use serde_json::{Value, json};

use super::latency::Percentiles;

/// Most points of a run: an hour of seconds. Even, so that all have a neighbour.
const MOST: usize = 3600;

/// The latencies of an interval.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    pub send: Percentiles,
    pub commit: Percentiles,
    pub end_to_end: Percentiles,
}

impl Figures {
    fn worse(self, other: Self) -> Self {
        Self {
            send: self.send.worse(other.send),
            commit: self.commit.worse(other.commit),
            end_to_end: self.end_to_end.worse(other.end_to_end),
        }
    }
}

/// An interval of a run, told at its end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Since the run began.
    pub seconds: f64,
    /// Rows stored since the run began.
    pub rows: u64,
    /// Within the interval.
    pub rows_per_second: f64,
    /// Within the interval.
    pub figures: Figures,
}

/// The points of a run.
#[derive(Clone, Debug)]
pub struct Course {
    points: Vec<Point>,
    /// Seconds of an interval.
    every: f64,
}

impl Default for Course {
    fn default() -> Self {
        Self { points: Vec::new(), every: 1.0 }
    }
}

impl Course {
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// Returns whether it is time for the next point.
    pub fn is_due(&self, seconds: f64) -> bool {
        seconds - self.end().0 >= self.every
    }

    /// Adds a point for the interval since the last one.
    pub fn add(&mut self, seconds: f64, rows: u64, figures: Figures) {
        let from = self.end();
        self.points.push(point(from, (seconds, rows), figures));
        if self.points.len() >= MOST {
            self.points = thinned(&self.points, 2);
            self.every *= 2.0;
        }
    }

    /// Adds the rest of the run. A short rest joins the last point: few rows and little time make no rate.
    pub fn close(&mut self, seconds: f64, rows: u64, figures: Figures) {
        let is_short = seconds - self.end().0 < self.every / 2.0;
        match self.points.pop() {
            Some(last) if is_short => {
                let from = self.end();
                self.points.push(point(from, (seconds.max(last.seconds), rows), last.figures.worse(figures)));
            }
            last => {
                self.points.extend(last);
                self.add(seconds, rows, figures);
            }
        }
    }

    /// Returns at most `most` points for the whole run.
    pub fn at_most(&self, most: usize) -> Vec<Point> {
        thinned(&self.points, self.points.len().div_ceil(most.max(1)).max(1))
    }

    /// Returns rows a second in the first and in the last tenth of the rows; `None` when there are too few points.
    pub fn first_and_last_tenth(&self) -> Option<(f64, f64)> {
        let rows = self.end().1;
        let first = self.points.iter().position(|point| point.rows >= rows / 10)?;
        let last = self.points.iter().rposition(|point| point.rows <= rows - rows / 10)?;
        let (first, last, end) = (self.points[first], self.points[last], self.end());
        let is_enough = self.points.len() >= 10 && end.0 > last.seconds && last.seconds > first.seconds;
        is_enough.then(|| (first.rows as f64 / first.seconds, (end.1 - last.rows) as f64 / (end.0 - last.seconds)))
    }

    pub fn json(&self) -> Value {
        let point = |point: &Point| {
            json!({
                "seconds": point.seconds, "rows": point.rows, "rows_per_second": point.rows_per_second,
                "send": point.figures.send.json(), "commit": point.figures.commit.json(),
                "end_to_end": point.figures.end_to_end.json(),
            })
        };
        self.points.iter().map(point).collect()
    }

    fn end(&self) -> (f64, u64) {
        self.points.last().map_or((0.0, 0), |point| (point.seconds, point.rows))
    }
}

fn point(from: (f64, u64), to: (f64, u64), figures: Figures) -> Point {
    let rows_per_second = to.1.saturating_sub(from.1) as f64 / (to.0 - from.0).max(1e-9);
    Point { seconds: to.0, rows: to.1, rows_per_second, figures }
}

fn thinned(points: &[Point], group: usize) -> Vec<Point> {
    let mut from = (0.0, 0);
    let mut thinned = Vec::with_capacity(MOST);
    for group in points.chunks(group) {
        let Some(last) = group.last() else { continue };
        let figures = group.iter().fold(Figures::default(), |worst, point| worst.worse(point.figures));
        let to = (last.seconds, last.rows);
        thinned.push(point(from, to, figures));
        from = to;
    }
    thinned
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(max: f64) -> Figures {
        Figures { commit: Percentiles { max, ..Percentiles::default() }, ..Figures::default() }
    }

    #[test]
    fn a_soak_of_days_keeps_few_points_and_its_worst_commit() {
        let mut course = Course::default();
        let days: u32 = 3 * 86_400;
        for second in 1..=days {
            if course.is_due(f64::from(second)) {
                let stall = if (100_000..100_064).contains(&second) { 900.0 } else { 5.0 };
                course.add(f64::from(second), u64::from(second) * 1000, commit(stall));
            }
        }
        course.close(f64::from(days) + 0.1, u64::from(days) * 1000, commit(1.0));
        let points = course.points();
        assert!((1800..=MOST).contains(&points.len()), "{}", points.len());
        assert_eq!(points.last().map(|point| point.rows), Some(u64::from(days) * 1000));
        assert!(points.iter().any(|point| point.figures.commit.max == 900.0));
        assert!(points.iter().all(|point| (point.rows_per_second - 1000.0).abs() < 1.0));
        assert!(course.at_most(400).len() <= 400);
    }

    #[test]
    fn a_run_shorter_than_a_second_has_a_point_and_a_short_rest_makes_none() {
        let mut course = Course::default();
        course.close(0.2, 100, commit(1.0));
        assert_eq!(course.points()[0].rows_per_second, 500.0);
        let mut course = Course::default();
        course.add(1.0, 100, commit(1.0));
        course.close(1.25, 200, commit(2.0));
        assert_eq!(course.points(), [point((0.0, 0), (1.25, 200), commit(2.0))]);
    }

    #[test]
    fn decay_is_told_by_the_first_and_the_last_tenth_of_the_rows() {
        let mut course = Course::default();
        assert_eq!(course.first_and_last_tenth(), None);
        let mut rows = 0;
        for second in 1..=20u32 {
            rows += if second <= 10 { 1000 } else { 500 };
            course.add(f64::from(second), rows, Figures::default());
        }
        assert_eq!(course.first_and_last_tenth(), Some((1000.0, 500.0)));
    }
}

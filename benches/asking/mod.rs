//! The questions, and the three who answer them.

use std::time::Duration;

use forebay::Timestamp;
use forebay::repository::{Direction, EventColumn, Filter, Paging, Repository, Sort};
use rusqlite::{Connection, OpenFlags, Row, Rows, ToSql};

use crate::grown::Grown;

const HOUR: i64 = 3_600_000_000_000;
/// As a `Repository` has it, in KiB.
const CACHE_KIB: u32 = 32 << 10;

/// A question, with what it is asked about.
pub enum Question {
    NewestByTime,
    NewestById,
    NewestOf(&'static str, String),
    CountOf(String),
    Count(&'static str, i64, i64),
    TypesOfDay(i64, i64),
    AddressesOfDay(i64, i64),
    HoursOfDay(i64, i64),
}

/// Ids of a page, or names and counts.
pub type Answer = Vec<(String, i64)>;

impl Question {
    pub fn all(tools: &Tools, grown: &Grown) -> Vec<Self> {
        let end = grown.end();
        let (day, middle) = (end - 24 * HOUR, end - (grown.days * 12.0 * HOUR as f64) as i64);
        let by_rows = "SELECT src_ip FROM events GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 1 OFFSET ";
        let address = |place: &str| -> String {
            tools.table.query_row(&format!("{by_rows}{place}"), [], |row| row.get(0)).expect("an address")
        };
        let (frequent, middling) = (address("0"), address("1000"));
        let rare = address("(SELECT count(DISTINCT src_ip) - 1 FROM events)");
        vec![
            Self::NewestByTime,
            Self::NewestById,
            Self::NewestOf("the most frequent address", frequent.clone()),
            Self::NewestOf("the 1000th address", middling),
            Self::NewestOf("the rarest address", rare),
            Self::Count("the last hour", end - HOUR, end),
            Self::Count("an hour in the middle", middle, middle + HOUR),
            Self::TypesOfDay(day, end),
            Self::AddressesOfDay(day, end),
            Self::HoursOfDay(day, end),
            Self::CountOf(frequent),
        ]
    }

    pub fn name(&self) -> String {
        match self {
            Self::NewestByTime => "newest 50 by time".into(),
            Self::NewestById => "newest 50 by id".into(),
            Self::NewestOf(whom, _) => format!("newest 50 of {whom}"),
            Self::CountOf(_) => "count of the most frequent address".into(),
            Self::Count(when, ..) => format!("count of {when}"),
            Self::TypesOfDay(..) => "count by event_type over a day".into(),
            Self::AddressesOfDay(..) => "top 10 addresses of a day".into(),
            Self::HoursOfDay(..) => "count by hour over a day".into(),
        }
    }

    /// The same in SQL, with what is bound.
    fn sql(&self) -> (&'static str, Vec<&dyn ToSql>) {
        match self {
            Self::NewestByTime => ("SELECT * FROM events ORDER BY ts DESC, id DESC LIMIT 50", vec![]),
            Self::NewestById => ("SELECT * FROM events ORDER BY id DESC LIMIT 50", vec![]),
            Self::NewestOf(_, address) => {
                ("SELECT * FROM events WHERE src_ip = ? ORDER BY ts DESC, id DESC LIMIT 50", vec![address])
            }
            Self::CountOf(address) => ("SELECT '', count(*) FROM events WHERE src_ip = ?", vec![address]),
            Self::Count(_, from, end) => ("SELECT '', count(*) FROM events WHERE ts >= ? AND ts < ?", vec![from, end]),
            Self::TypesOfDay(from, end) => {
                let sql =
                    "SELECT event_type, count(*) FROM events WHERE ts >= ? AND ts < ? GROUP BY 1 ORDER BY 2 DESC, 1";
                (sql, vec![from, end])
            }
            Self::AddressesOfDay(from, end) => {
                let sql = "SELECT src_ip, count(*) FROM events WHERE ts >= ? AND ts < ? GROUP BY 1 \
                           ORDER BY 2 DESC, 1 LIMIT 10";
                (sql, vec![from, end])
            }
            Self::HoursOfDay(from, end) => {
                let sql = "SELECT CAST(ts / 3600000000000 * 3600000000000 AS TEXT), count(*) FROM events \
                           WHERE ts >= ? AND ts < ? GROUP BY 1 ORDER BY 1";
                (sql, vec![from, end])
            }
        }
    }

    /// Asks it as a host does.
    pub fn ask(&self, repository: &Repository) -> Answer {
        let events = repository.events();
        let (all, at) = (Filter::new, Timestamp::from_nanos);
        let between = |from: i64, end: i64| all().since(at(from)).until(at(end));
        let page = |filter: &Filter<EventColumn>, paging: Paging| {
            let page = events.page(filter, &paging).expect("an answer");
            page.rows.iter().map(|stored| (String::new(), stored.id)).collect()
        };
        let tally = |column, from, end, limit| {
            let tallies = events.count_by(column, &between(from, end), limit).expect("an answer");
            tallies.into_iter().map(|tally| (tally.key.unwrap_or_default(), tally.rows as i64)).collect()
        };
        let count =
            |filter: &Filter<EventColumn>| vec![(String::new(), events.count(filter).expect("an answer") as i64)];
        match self {
            Self::NewestByTime => page(&all(), Paging::newest(50)),
            Self::NewestById => page(&all(), Paging::newest(50).ordered(Sort::Id, Direction::NewestFirst)),
            Self::NewestOf(_, address) => page(&all().is(EventColumn::SrcIp, address), Paging::newest(50)),
            Self::CountOf(address) => count(&all().is(EventColumn::SrcIp, address)),
            Self::Count(_, from, end) => count(&between(*from, *end)),
            Self::TypesOfDay(from, end) => tally(EventColumn::EventType, *from, *end, usize::MAX),
            Self::AddressesOfDay(from, end) => tally(EventColumn::SrcIp, *from, *end, 10),
            Self::HoursOfDay(from, end) => {
                let hour = Duration::from_nanos(HOUR as u64);
                let buckets = events.histogram(&between(*from, *end), &hour.into()).expect("an answer");
                buckets.iter().map(|bucket| (bucket.from.as_nanos().to_string(), bucket.rows as i64)).collect()
            }
        }
    }

    fn is_page(&self) -> bool {
        matches!(self, Self::NewestByTime | Self::NewestById | Self::NewestOf(..))
    }
}

/// Who answers.
pub struct Tools {
    repository: Repository,
    view: Connection,
    table: Connection,
}

impl Tools {
    pub fn open(grown: &Grown) -> Self {
        let connect = |path| {
            let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("a file");
            connection.execute_batch(&format!("PRAGMA cache_size=-{CACHE_KIB}")).expect("a setting");
            connection
        };
        let repository = Repository::open(&format!("sqlite:{}", grown.ours.display())).expect("our file");
        Self { repository, view: connect(&grown.ours), table: connect(&grown.plain) }
    }

    /// Returns how many closed segments there are, and how many a page of an address reads by an index.
    pub fn plan(&self) -> (usize, usize) {
        let sql = "EXPLAIN QUERY PLAN SELECT * FROM events WHERE src_ip = 'x' ORDER BY ts DESC LIMIT 50";
        let mut plan = self.view.prepare(sql).expect("a plan");
        let steps = plan.query_map([], |row| row.get::<_, String>(3)).expect("a plan");
        let steps: Vec<String> = steps.map(|step| step.expect("a step")).collect();
        let tables = "SELECT 'events_' || number FROM segments WHERE kind = 'events' AND state = 'closed'";
        let mut tables = self.view.prepare(tables).expect("the catalogue");
        let tables = tables.query_map([], |row| row.get::<_, String>(0)).expect("the catalogue");
        let tables: Vec<String> = tables.map(|table| table.expect("a segment")).collect();
        let uses = |table: &&String| steps.iter().any(|step| step.starts_with(&format!("SEARCH {table} USING INDEX")));
        (tables.len(), tables.iter().filter(uses).count())
    }

    pub fn ours(&self, question: &Question) -> Answer {
        question.ask(&self.repository)
    }

    pub fn view(&self, question: &Question) -> Answer {
        let (sql, values) = question.sql();
        let mut statement = self.view.prepare(sql).expect("a statement");
        answer(question, statement.query(&values[..]).expect("an answer"))
    }

    pub fn table(&self, question: &Question) -> Answer {
        let (sql, values) = question.sql();
        let mut statement = self.table.prepare_cached(sql).expect("a statement");
        answer(question, statement.query(&values[..]).expect("an answer"))
    }
}

fn answer(question: &Question, mut rows: Rows<'_>) -> Answer {
    let mut answer = Vec::new();
    while let Some(row) = rows.next().expect("a row") {
        answer.push(if question.is_page() { (String::new(), whole(row)) } else { pair(row) });
    }
    answer
}

fn pair(row: &Row<'_>) -> (String, i64) {
    (row.get(0).expect("a key"), row.get(1).expect("a count"))
}

/// Reads all columns, as whoever asks for rows does; returns the id.
fn whole(row: &Row<'_>) -> i64 {
    let text = |column: usize| row.get::<_, Option<String>>(column).expect("a text");
    let texts = [2, 3, 4, 5, 7, 9, 10, 11, 12, 13, 14, 15].map(text);
    let numbers = [1, 6, 8].map(|column| row.get::<_, Option<i64>>(column).expect("a number"));
    std::hint::black_box((texts, numbers));
    row.get(0).expect("an id")
}

